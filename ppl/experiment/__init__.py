"""Settings of an experiment as a whole: the sections of all steps, settings.yaml, and the reference made from them."""
