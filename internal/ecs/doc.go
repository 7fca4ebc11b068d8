// Package ecs talks to Alibaba Cloud: instances, security groups, the catalog
// of zones, types and images, Cloud Assistant, two calls of the Key Management
// Service, and those of VPC and STS that all this needs. It is the only user of Alibaba's SDK.
//
// # What the SDK does here, and what not
//
// The SDK composes and signs the requests (requests.CommonRequest, auth.Sign).
// It does not send them: its client is not safe for concurrent use, knows no
// context, keeps the timeout of the last call for the next one, prints requests
// to standard output under DEBUG=sdk, and panics on an error body whose Code is
// a number. So the transport, the timeouts, the decoding and the retries are
// this package's.
//
// # Properties
//
//   - HTTPS always. The one exception is an endpoint that is spelled
//     "http://" and is a loopback address.
//   - Every argument travels in the body and only what signing needs is in the
//     URL, so a proxy's log has no password. Error texts contain no URL, and
//     known secrets are cut out of whatever a server says.
//   - Every method takes a context and ends with it. A write that is on its way
//     is not cut by the context of its caller, because nobody could tell whether
//     it happened: it is given a few seconds to end.
//   - A [Client] may be used by any number of goroutines, and two clients share
//     nothing.
//   - Retries follow a table of exact codes per action. A write is repeated
//     under the same ClientToken, or where repeating it changes nothing.
//   - "Not found" is an answer of one resource's own codes. An unknown access
//     key also answers 404 with a code that ends in NotFound, and is an error of
//     [ClassAuth].
//
// # Errors
//
// [*Error] is what the service or the way to it answered; [*NotFoundError] is
// the absence of a resource; [*WaitError] is a state that did not come in time.
// All three say in Remedy what to do, when there is something to do.
package ecs
