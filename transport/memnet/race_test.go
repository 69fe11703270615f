//go:build race

package memnet_test

const underRace = true
