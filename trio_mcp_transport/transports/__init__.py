"""One file per transport; nothing else touches the operating system or a network library."""
