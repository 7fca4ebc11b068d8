package deploy

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/ecs"
)

var (
	//go:embed units/bootstrap.sh
	bootstrapScript string
	//go:embed units/bootstrap_report.sh
	bootstrapReportScript string
)

// BootstrapSteps are the steps of the script, in their order.
var BootstrapSteps = []string{"system", "base_packages", "no_podman_docker", "docker_repository", "docker_ce", "docker_service", "docker_group"}

// loginPattern is what Linux takes for a login, and nothing that a shell would
// look at twice.
var loginPattern = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,30}$`)

// ValidLogin tells whether s can be a user of the machine.
func ValidLogin(s string) error {
	if !loginPattern.MatchString(s) {
		return fmt.Errorf("%q is not the name of a user: lower-case letters, digits, - and _, at most 31, starting with a letter or _", s)
	}
	return nil
}

// BootstrapScript returns the script that prepares a client machine, fit for
// cloud-init's user data and for Cloud Assistant. The user, if any, is put into
// the group docker.
func BootstrapScript(user string) (string, error) {
	if user == "" {
		return bootstrapScript, nil
	}
	if err := ValidLogin(user); err != nil {
		return "", err
	}
	shebang, rest, _ := strings.Cut(bootstrapScript, "\n")
	return shebang + "\nCC_BOOTSTRAP_USER='" + user + "'\n" + rest, nil
}

// BootstrapStep is how a step ended.
type BootstrapStep struct {
	Name     string `json:"name"`
	Status   string `json:"status"` // ok, failed, running, or not run
	ExitCode int    `json:"exit_code"`
	Seconds  int    `json:"seconds"`
}

// BootstrapReport is what is known of a machine's preparation.
type BootstrapReport struct {
	Steps       []BootstrapStep `json:"steps"`
	SSHHostKeys []string        `json:"ssh_host_keys"` // as in known_hosts, without the address
}

// Done tells that every step ended well.
func (r *BootstrapReport) Done() bool {
	for _, s := range r.Steps {
		if s.Status != "ok" {
			return false
		}
	}
	return len(r.Steps) == len(BootstrapSteps)
}

// bootstrapTimeout bounds the script on the machine; the caller's deadline may
// be nearer.
const bootstrapTimeout = 30 * time.Minute

// Bootstrap prepares a machine through Cloud Assistant, which needs no SSH and
// no open port, and reports what was done. A report may come beside an error.
func Bootstrap(ctx context.Context, c *ecs.Client, id, user string) (*BootstrapReport, error) {
	fail := func(err error) error {
		return explainCloud("Bootstrap not completed", verb("bootstrap instance "+id, err))
	}
	script, err := BootstrapScript(user)
	if err != nil {
		return nil, fail(err)
	}
	if err := c.WaitAssistant(ctx, id); err != nil {
		return nil, fail(err)
	}
	result, err := c.Run(ctx, id, ecs.Command{Name: "cc-bootstrap", Script: script, Timeout: bootstrapTimeout})
	if err != nil {
		return nil, fail(err)
	}
	report, err := ReadBootstrap(ctx, c, id)
	if err != nil {
		return nil, err
	}
	if !result.Succeeded() {
		return report, bootstrapFailure(id, result, report)
	}
	if !report.Done() {
		return report, fail(errors.New("the script ended with 0, but its status file does not say that every step is done: " + report.summary()))
	}
	return report, nil
}

// ReadBootstrap reads back what the script wrote down, and the host keys. It
// waits for a run that is at work.
func ReadBootstrap(ctx context.Context, c *ecs.Client, id string) (*BootstrapReport, error) {
	result, err := c.Run(ctx, id, ecs.Command{Name: "cc-bootstrap-report", Script: bootstrapReportScript, Timeout: bootstrapTimeout})
	if err == nil && !result.Succeeded() {
		err = fmt.Errorf("the command ended as %s with exit code %d", result.Status, result.ExitCode)
	}
	if err != nil {
		return nil, explainCloud("Bootstrap not read", verb("read the bootstrap status of instance "+id, err))
	}
	return parseBootstrapReport(result.Output)
}

func bootstrapFailure(id string, result *ecs.CommandResult, report *BootstrapReport) error {
	what := fmt.Sprintf("the script ended as %s with exit code %d", result.Status, result.ExitCode)
	if result.Code != "" && result.Code != "ExitCodeNonzero" {
		what = fmt.Sprintf("Cloud Assistant says %s (%s)", result.Code, result.Info)
	}
	for _, s := range report.Steps {
		if s.Status == "failed" {
			what = fmt.Sprintf("step %s failed with exit code %d", s.Name, s.ExitCode)
		}
	}
	return &Error{
		Summary:  "Bootstrap failed",
		Err:      fmt.Errorf("bootstrap instance %s: %s (%s)", id, what, report.summary()),
		Remedy:   "The whole log is /var/log/cc-bootstrap.log on the machine. Mend the cause and change bootstrap_triggers to run the script again; what is done is not done twice.",
		Evidence: tail(result.Output, 40),
	}
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// summary lists the steps: "system ok, base_packages failed".
func (r *BootstrapReport) summary() string {
	var parts []string
	for _, s := range r.Steps {
		parts = append(parts, s.Name+" "+s.Status)
	}
	if len(parts) == 0 {
		return "no step was done"
	}
	return strings.Join(parts, ", ")
}

// parseBootstrapReport reads the output of the report script. Host keys that
// are not of the known form are an error: what the machine prints here is
// trusted later.
func parseBootstrapReport(output string) (*BootstrapReport, error) {
	r := &BootstrapReport{}
	section := ""
	for line := range strings.Lines(output) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case line == "--- steps" || line == "--- ssh host keys":
			section = line
		case line == "":
		case section == "--- steps":
			s, err := parseBootstrapStep(line)
			if err != nil {
				return nil, err
			}
			r.Steps = append(r.Steps, s)
		case section == "--- ssh host keys":
			key, err := parseHostKey(line)
			if err != nil {
				return nil, err
			}
			r.SSHHostKeys = append(r.SSHHostKeys, key)
		default:
			return nil, fmt.Errorf("read bootstrap status: unexpected line %q", clipLine(line))
		}
	}
	if section != "--- ssh host keys" {
		return nil, errors.New("read bootstrap status: the output ends before its end")
	}
	return r, nil
}

func parseBootstrapStep(line string) (BootstrapStep, error) {
	bad := fmt.Errorf("read bootstrap status: line %q is not NAME, STATUS, EXIT CODE and SECONDS", clipLine(line))
	fields := strings.Split(line, "\t")
	if len(fields) != 4 {
		return BootstrapStep{}, bad
	}
	code, codeErr := strconv.Atoi(fields[2])
	seconds, secondsErr := strconv.Atoi(fields[3])
	if codeErr != nil || secondsErr != nil || (fields[1] != "ok" && fields[1] != "failed" && fields[1] != "running") {
		return BootstrapStep{}, bad
	}
	return BootstrapStep{Name: fields[0], Status: fields[1], ExitCode: code, Seconds: seconds}, nil
}

var hostKeyPattern = regexp.MustCompile(`^((?:ssh|ecdsa)-[a-z0-9-]+ [A-Za-z0-9+/]+={0,2})(?: .*)?$`)

// parseHostKey keeps type and key, and drops the comment.
func parseHostKey(line string) (string, error) {
	m := hostKeyPattern.FindStringSubmatch(line)
	if m == nil {
		return "", fmt.Errorf("read ssh host keys: line %q is not a public key", clipLine(line))
	}
	return m[1], nil
}

func clipLine(s string) string { return s[:min(len(s), 60)] }
