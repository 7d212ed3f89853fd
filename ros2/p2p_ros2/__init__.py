"""Label images of ROS 2 topics and MCAP files become photos, with the same stamps."""
