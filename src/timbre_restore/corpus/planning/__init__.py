"""What is to be made: what is there, which side it is on, what chance decides, and the table that fixes it all."""
