"""To and from kohya_ss and sd-scripts: their options, the GUI's JSON, command lines and the metadata of LoRAs."""
