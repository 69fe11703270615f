// Package tests checks what Meridian is deployed with: it renders the Helm chart,
// decodes every manifest strictly as an API server would, and has a linter look
// at it. It is a module of its own, since it needs Helm and the types of
// Kubernetes, which the product does not.
//
//	go -C deploy/tests test ./...
//	go -C deploy/tests test ./... -update      # writes the golden renders anew
//	go -C deploy/tests tool helm template …    # Helm, of the version tested with
package tests
