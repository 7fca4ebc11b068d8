package doctor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/pccs"
)

// Status says how bad a finding is.
type Status string

// Statuses.
const (
	OK   Status = "ok"
	Warn Status = "warn" // works today
	Fail Status = "fail"
	Skip Status = "skip" // could not be looked at, or does not apply
)

// What the error of a failure may wrap, beside the typed errors of other packages.
var (
	ErrUnreachable = errors.New("unreachable")
	ErrNotGenuine  = errors.New("not genuine") // another machine than the one that is known
)

// Finding is one line of a report.
type Finding struct {
	Check   string   `json:"check"` // stable name of what was looked at, such as "clock"
	Status  Status   `json:"status"`
	Found   string   `json:"found"`
	Remedy  string   `json:"remedy,omitempty"` // what to do about it
	Details []string `json:"details,omitempty"`
	// Err is the error behind a failure, if there is one, for a caller who tells errors apart.
	Err error `json:"-"`
}

// Check looks at one thing. Run may be called once.
type Check struct {
	Name string
	Run  func(context.Context) []Finding
}

// Run runs checks in their order and returns what they found. A check that finds nothing to say is not mentioned. The
// error is that of ctx.
func Run(ctx context.Context, checks []Check) ([]Finding, error) {
	var all []Finding
	for _, c := range checks {
		found := c.Run(ctx)
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("check %s: %w", c.Name, err)
		}
		for i := range found {
			if found[i].Check == "" {
				found[i].Check = c.Name
			}
		}
		all = append(all, found...)
	}
	return all, nil
}

func ok(format string, a ...any) Finding {
	return Finding{Status: OK, Found: fmt.Sprintf(format, a...)}
}

func skip(format string, a ...any) Finding {
	return Finding{Status: Skip, Found: fmt.Sprintf(format, a...)}
}

func warn(remedy, format string, a ...any) Finding {
	return Finding{Status: Warn, Found: fmt.Sprintf(format, a...), Remedy: remedy}
}

func fail(remedy, format string, a ...any) Finding {
	return Finding{Status: Fail, Found: fmt.Sprintf(format, a...), Remedy: remedy}
}

// failed makes a finding of an error. What an error of the collateral's says is to be done goes where that belongs.
func failed(err error) Finding {
	f := Finding{Status: Fail, Err: err}
	var service *pccs.Error
	var refusal *dcap.Error
	switch {
	case errors.As(err, &service):
		short := *service
		f.Remedy, short.Remedy = service.Remedy, ""
		f.Found = short.Error()
		if f.Remedy == "" {
			f.Remedy = serviceRemedies[service.Kind]
		}
	case errors.As(err, &refusal):
		short := *refusal
		f.Remedy, short.Remedy = refusal.Remedy, ""
		f.Found = short.Error()
	default:
		f.Found = err.Error()
	}
	return f
}

var serviceRemedies = map[pccs.ErrorKind]string{
	pccs.Unreachable: "check the URL, the name resolution, the proxy (HTTPS_PROXY) and that the firewall lets this machine out to it",
	pccs.NotFound:    "ask another service",
	pccs.Refused:     "check the URL, and that its certificate is for that host and current",
	pccs.Malformed:   "check that the URL is a collateral service and no web page of a proxy",
	pccs.Expired:     "refresh the service's cache",
}

// named gives findings their check.
func (f Finding) named(check string) Finding {
	f.Check = check
	return f
}

// period is a duration for people.
func period(d time.Duration) string {
	switch d = d.Abs(); {
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Hour:
		return d.Round(time.Second).String()
	case d < 48*time.Hour:
		return fmt.Sprintf("%.0f hours", d.Hours())
	default:
		return fmt.Sprintf("%.0f days", d.Hours()/24)
	}
}

func date(t time.Time) string { return t.UTC().Format(time.RFC3339) }
