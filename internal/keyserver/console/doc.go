// Package console is the key server's administrative listener: what an operator, a supervisor and Prometheus see of a
// running server. It shows no secret, and it answers GET alone.
//
//	/           the status page, which needs neither JavaScript nor any other host; ?refresh=10 reloads it by itself
//	/status     the same as JSON: a [Status]; ?decisions=N gives the last N decisions only
//	/decisions  recent decisions as JSON: a [Page]; ?after=N&wait=20 waits for the next one
//	/healthz    200 while the process works
//	/readyz     200 while enclaves are served; else 503 with the reason
//	/metrics    counters and gauges for Prometheus, see package metrics
//
// # Who may look
//
// Without TLS the listener is for the loopback alone. With TLS, which [TLSConfig] makes mutual, it may be anywhere: whoever
// has no certificate of the operator's CA gets nothing, not even the health checks.
//
// Kubernetes' kubelet can present no certificate and does not come from the loopback. For it [ServeHealth] answers /healthz
// and /readyz on a listener of their own, to anybody, with nothing but a status.
//
// A request must name a host that is meant: localhost, a loopback address, the very address it arrived at, or a name of the
// configuration. A browser that was lured to a name which resolves to this machine sends that name (DNS rebinding), and is
// refused with 421.
//
// # What strangers can do to the page
//
// The page shows text that strangers chose, such as the server name they asked for. html/template escapes it by where it
// stands, and the content security policy allows no script, no form, no frame and no other host. Refusals of evidence that
// nothing vouches for have a memory of their own ([Recent]): a flood of them does not push the others out of sight.
package console
