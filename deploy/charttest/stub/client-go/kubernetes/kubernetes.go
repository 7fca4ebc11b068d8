// Package kubernetes stands in for client-go's; package rest says why. Helm imports it for its version alone.
package kubernetes
