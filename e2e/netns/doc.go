// Package netns puts regions into network namespaces of their own, on a bridge
// of its own, and cuts what goes between them with nftables in the kernel. It is
// the second way to the faults of package relay, for those that it knows: cuts,
// both ways or one way, and loss. It needs Linux, root, and Debian's iproute2 and
// nftables.
package netns
