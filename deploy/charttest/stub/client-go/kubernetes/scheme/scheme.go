// Package scheme stands in for client-go's; package rest says why. It knows the kinds that the chart makes, which Helm's linter
// looks up to find those that are deprecated.
package scheme

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Scheme has the kinds.
var Scheme = runtime.NewScheme()

var builder = runtime.NewSchemeBuilder(appsv1.AddToScheme, corev1.AddToScheme, networkingv1.AddToScheme, policyv1.AddToScheme)

// AddToScheme adds them to another.
var AddToScheme = builder.AddToScheme

func init() {
	if err := AddToScheme(Scheme); err != nil {
		panic(err)
	}
}
