"""Studies of picture quality: training options, scores and int8 calibration."""
