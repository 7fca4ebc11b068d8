// Package discovery stands in for client-go's; package rest says why.
package discovery

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// DiscoveryClient finds nothing.
type DiscoveryClient struct{}

// NewDiscoveryClientForConfig makes none.
func NewDiscoveryClientForConfig(*rest.Config) (*DiscoveryClient, error) {
	return nil, rest.ErrNoCluster
}

// ServerResourcesForGroupVersion finds nothing.
func (*DiscoveryClient) ServerResourcesForGroupVersion(string) (*metav1.APIResourceList, error) {
	return nil, rest.ErrNoCluster
}
