//go:build !linux

package region

// system would fill in what the system knows of the process.
func (*ProcessStatus) system() {}
