"""Quality of the maps on scenes of the demo world, where the truth is known."""
