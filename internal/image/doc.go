// Package image makes the container image of the key server out of the program
// ccctl and nothing else: no base image, no registry, no Docker.
//
// The image is FROM scratch: one layer with /ccctl, which is statically
// linked and brings the public certification authorities along, and an empty
// /tmp. It is reproducible: the same program gives the same bytes, because
// every time in it is the epoch and nothing of the machine that made it is
// recorded. So its digest can be known without asking anybody, and a host that
// has it is sent nothing.
package image
