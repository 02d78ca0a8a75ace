"""What only code written for grad-cam 1.x needs. The pipeline does not use it."""
