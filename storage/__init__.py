"""What Spacelane keeps: metadata and blobs. Knows nothing of HTTP and never imports `server`."""
