// Package rest stands in for client-go's in tests of a chart.
//
// Helm's engine links a client of Kubernetes for the template function lookup, which asks a cluster. This chart may not: what it
// makes must follow from its values. So this module takes the place of client-go there, all of it that Helm's packages name. It is
// a fortieth of the size, and any lookup fails.
package rest

import "errors"

// Config is of nothing.
type Config struct{}

// ErrNoCluster is what a lookup fails with.
var ErrNoCluster = errors.New("the chart asks a cluster (lookup), and may not")
