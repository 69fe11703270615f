//go:build !linux && !darwin

package badgerstore

import "os"

// fileIdentity says nothing of a file but that it is there: of a folder that was
// put back it is noticed here that it was opened since it was copied, by the
// marker's name, unless the marker was copied with it.
func fileIdentity(path string) (string, error) {
	_, err := os.Lstat(path)
	return "", err
}
