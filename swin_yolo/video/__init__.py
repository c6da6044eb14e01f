"""Images, videos and streams by OpenCV: what frames come from, where they go, and the threads between."""
