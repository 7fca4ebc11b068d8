// Package charttest tests the Helm chart in deploy/cc-keyserver with Helm's own code, offline. It is a module of its own, so
// that Helm and Kubernetes are not among the product's dependencies.
//
//	go test -C deploy/charttest ./...             # lint, renders, refusals, schemas, what every pod must be
//	go test -C deploy/charttest ./... -update     # write testdata/*.golden anew
//
// The configurations in the golden renders are held against the server itself by a test in internal/keyserver.
//
// testdata/kubernetes-1.30.json has the schemas of the kinds that the chart makes, of the oldest Kubernetes that it is for:
// what is valid there is valid in later ones. They are those of the OpenAPI documents that the API server of Kubernetes
// v1.30 publishes (Apache License 2.0), without descriptions and closed to unknown fields. TestUpdateSchemas writes them.
package charttest
