"""Support for code written for grad-cam 1.x; the pipeline does not use it."""
