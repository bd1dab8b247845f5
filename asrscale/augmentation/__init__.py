"""What --augment does to the sound of training: noise, rooms, gain, clipping, telephones, codecs."""
