"""Time, memory and agreement of the maps, each library in a process of its own."""
