// Package fake is named by Helm's own tests, which are not built here; 'go mod tidy' looks for it all the same.
package fake
