// Package e2e tests regions as users run them: real processes on the loopback,
// with certificates and QUIC between them and HTTP towards the tests. README.md
// tells what is tested how, and how to run the long forms. Package cluster beside
// it starts and breaks the processes; package sim tests the same guarantees over
// very many random histories in virtual time.
package e2e
