"""A folder of pictures explained: found, decoded, recorded as they are done, and put in a table."""
