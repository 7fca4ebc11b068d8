// Package ecssim is Alibaba Cloud, as far as this product and Alibaba's own
// Terraform provider need it, behind its RPC protocol: ECS (2014-05-26), VPC
// (2016-04-28), STS (2015-04-01), and one call each of billing and location
// that providers make on the way.
//
// It is a [http.Handler]. [Listen] serves it with and without TLS on one port,
// because Alibaba's provider sends some calls to https whatever it is told.
//
// # What it is faithful in
//
//   - The wire: GET and POST, arguments in query and body merged, HMAC-SHA1
//     signatures, timestamps within 15 minutes, nonces used once, tokens of
//     temporary keys; error bodies and their codes; JSON with the casing of the
//     real answers.
//   - Time: instances go through Pending, Starting, Running, Stopping, Stopped;
//     what was made is listed only after a while, and what was deleted is still
//     listed for a while ([Latencies]).
//   - Idempotency: a ClientToken that comes again gets the first answer, and with
//     other arguments an error.
//   - Quirks that providers trip over: adding a rule that exists succeeds and
//     adds nothing; removing one that does not succeeds; an instance cannot leave
//     its last group; a missing vSwitch is described as one without an id; a
//     missing instance is an empty list, and a missing group an error of one
//     call and an empty list of the other.
//   - Failures, by action and occasion: see [Fault].
//
// # What it is not
//
// A machine is a record. Cloud Assistant runs its commands for real, by a
// [Runner]: the one of [DirectoryRunner] in a directory with stand-ins for the
// programs of Alibaba Cloud Linux 3. That directory is a place, not a jail.
// Prices, quotas by region, EIPs and most filters are absent; an action that is not simulated answers as an unknown one.
//
// The package shares no code with the client it is there to test.
package ecssim

import "time"

// Options configure a simulator. The zero value is a fast one in memory that
// accepts [DefaultAccessKey].
type Options struct {
	// Keys are the secrets by access key id. Nil means [DefaultAccessKey] with
	// [DefaultSecretKey]. All belong to one account.
	Keys map[string]string
	// Account is the id of the account, "1000000000000001" when empty.
	Account string
	// OIDCToken is accepted from an identity provider; empty accepts none.
	OIDCToken string
	// Latencies are how long things take.
	Latencies Latencies
	// Quotas bound what there may be.
	Quotas Quotas
	// Dir keeps the state across restarts; empty keeps it in memory.
	Dir string
	// Runner runs the commands of Cloud Assistant. Nil lets every command
	// succeed with no output.
	Runner Runner
	// PublicIP gives the next machine's public address, for one that is to be
	// reached; nil hands out addresses of the documentation ranges.
	PublicIP func() string
	// SoldOut are instance types that no zone has, and SoldOutZones zones that
	// have none.
	SoldOut, SoldOutZones []string
	// OnRequest, if any, is told of every call, with no secret in it.
	OnRequest func(Request)
	// Now is the clock, time.Now when nil.
	Now func() time.Time
}

// The key that a simulator accepts unless it is told others.
const (
	DefaultAccessKey = "LTAIsimulatedAccessKey00"
	DefaultSecretKey = "simulatedSecretKey0000000000000"
)

// Latencies are how long things take; zero is at once.
type Latencies struct {
	Starting    time.Duration // from RunInstances or StartInstance to Running, half of it in Pending
	Stopping    time.Duration // from StopInstance to Stopped
	Deleting    time.Duration // from DeleteInstance until it is gone, and until its group can be
	PublicIP    time.Duration // from Running until the address is shown
	Agent       time.Duration // from Running until Cloud Assistant reports in
	Consistency time.Duration // until what was made is listed, or a command has a result
}

// Quotas bound what there may be; zero means Alibaba's usual figures.
type Quotas struct{ SecurityGroups, Rules, Instances, GroupsPerInstance int }

func (q Quotas) orDefault() Quotas {
	for _, v := range []struct {
		at *int
		to int
	}{{&q.SecurityGroups, 100}, {&q.Rules, 200}, {&q.Instances, 1000}, {&q.GroupsPerInstance, 5}} {
		if *v.at == 0 {
			*v.at = v.to
		}
	}
	return q
}
