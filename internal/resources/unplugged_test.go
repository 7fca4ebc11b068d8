package resources_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ccctl/terraform-provider-cc/internal/testhost"
)

// cable is the line to an SSH server. It breaks when a number of bytes has
// gone through, in both directions together, and stays so until it is mended.
type cable struct {
	t       *testing.T
	address string

	listener net.Listener
	open     sync.WaitGroup

	mu     sync.Mutex
	to     string
	limit  int64 // 0: none
	passed int64
	broken bool
	conns  map[net.Conn]bool
}

func newCable(t *testing.T, to string) *cable {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{t: t, to: to, address: l.Addr().String(), conns: map[net.Conn]bool{}}
	c.accept(l)
	t.Cleanup(func() {
		c.away()
		c.open.Wait()
	})
	return c
}

func (c *cable) accept(l net.Listener) {
	c.listener = l
	c.open.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			c.open.Go(func() { c.carry(near) })
		}
	})
}

// away refuses connections from now on.
func (c *cable) away() {
	_ = c.listener.Close()
	c.cut()
}

// back takes them again, at the same address.
func (c *cable) back() {
	c.t.Helper()
	l, err := (&net.ListenConfig{}).Listen(c.t.Context(), "tcp", c.address)
	if err != nil {
		c.t.Fatal(err)
	}
	c.mend(0)
	c.accept(l)
}

// mend makes it whole, to break after limit bytes (0: never).
func (c *cable) mend(limit int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.limit, c.passed, c.broken = limit, 0, false
}

// leadTo connects it to another server.
func (c *cable) leadTo(address string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.to = address
}

func (c *cable) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken = true
	for conn := range c.conns {
		_ = conn.Close()
	}
}

// state is how much has gone through, and whether it broke over that.
func (c *cable) state() (passed int64, broken bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.passed, c.broken
}

func (c *cable) hold(conn net.Conn) (ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conns[conn] = true
	return !c.broken
}

func (c *cable) drop(conn net.Conn) {
	_ = conn.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.conns, conn)
}

func (c *cable) carry(near net.Conn) {
	defer c.drop(near)
	if !c.hold(near) {
		return
	}
	c.mu.Lock()
	to := c.to
	c.mu.Unlock()
	far, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", to)
	if err != nil {
		return
	}
	defer c.drop(far)
	if !c.hold(far) {
		return
	}
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
		both.Go(func() {
			_, _ = io.Copy(way[1], &metered{way[0], c})
			_ = way[0].Close()
			_ = way[1].Close()
		})
	}
	both.Wait()
}

// metered counts what is read.
type metered struct {
	net.Conn
	c *cable
}

func (m *metered) Read(p []byte) (int, error) {
	n, err := m.Conn.Read(p)
	m.c.mu.Lock()
	m.c.passed += int64(n)
	over := m.c.limit > 0 && m.c.passed >= m.c.limit
	m.c.mu.Unlock()
	if over {
		m.c.cut()
		return 0, io.EOF // and what was read does not arrive
	}
	return n, err
}

// unplugged is a configuration with a key server and an upload on a machine at
// the end of a cable. It is applied many times with the same paths, port and
// names, so that what comes out can be compared as it is.
type unplugged struct {
	*keyServerFixture
	w         *workspace
	cable     *cable
	container string
	ccctl     string
}

func newUnplugged(t *testing.T) *unplugged {
	t.Helper()
	docker := testhost.DockerHost(t)
	ssh := testhost.StartSSHD(t, "DOCKER_HOST="+docker)
	u := &unplugged{keyServerFixture: newKeyServerFixture(t), cable: newCable(t, ssh.Address), container: fmt.Sprintf("cc-unplugged-%08x", rand.Uint32())}
	u.ccctl = u.path("ccctl")
	mustWrite(t, u.ccctl, append(mustRead(t, ccctlPath(t)), u.container...), 0o700) // an image that no other test uses
	mustWrite(t, u.path("plain"), make([]byte, 200<<10), 0o600)
	for _, name := range []string{"models/1/saved_model.pb", "ssl.cfg"} {
		out := u.path("upload", name)
		if err := os.MkdirAll(filepath.Dir(out), 0o700); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(ccctlPath(t), "pf", "encrypt", "-w", u.path("wrap.key"), "-i", u.path("plain"), "-o", out, "--path", name)
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
	}
	host := fmt.Sprintf(`{ ssh = { address = %s, user = %s, host_keys = [%s], private_key_file = %s } }`,
		quote(u.cable.address), quote(ssh.User), quote(ssh.HostKey), quote(ssh.KeyFile))
	u.listen, u.further = testhost.FreeAddress(t), "  container_name = "+quote(u.container)
	config := strings.NewReplacer(`{ local = {} }`, host, `"process"`, `"docker"`, quote(ccctlPath(t)), quote(u.ccctl), quote(u.server()), quote(u.onHost("key-server"))).Replace(u.config())
	config += fmt.Sprintf("resource \"cc_artifact_upload\" \"test\" {\n  host      = %s\n  directory = %s\n  source    = %s\n}\n", host, quote(u.onHost("serving")), quote(u.path("upload")))
	u.w = newWorkspace(t, config)
	u.w.env = []string{"TF_LOG="}
	u.reset("")
	return u
}

func (u *unplugged) onHost(name string) string { return u.path("host", name) }

// reset makes the machine and the state as they were before the first apply;
// an image that is given goes too.
func (u *unplugged) reset(image string) {
	u.t.Helper()
	u.cable.mend(0)
	for name := range strings.FieldsSeq(dockerOutput(u.t, "ps", "-a", "-q", "--filter", "name="+u.container)) {
		dockerOutput(u.t, "rm", "-f", name)
	}
	if image != "" {
		_ = exec.Command("docker", "rmi", "-f", image).Run() // it may have gone with a server
	}
	for _, name := range []string{u.path("host"), filepath.Join(u.w.dir, "terraform.tfstate"), filepath.Join(u.w.dir, "terraform.tfstate.backup")} {
		if err := os.RemoveAll(name); err != nil {
			u.t.Fatal(err)
		}
	}
	if err := os.MkdirAll(u.path("host"), 0o700); err != nil {
		u.t.Fatal(err)
	}
}

// aftermath is everything that an apply leaves, without what is random: the id
// of an upload, and what Docker numbers.
type aftermath struct {
	Files     map[string]string // by name, with their modes
	Container map[string]any
	State     []any
}

func (u *unplugged) aftermath() aftermath {
	t := u.t
	t.Helper()
	o := aftermath{Files: map[string]string{}}
	for name, data := range regularFiles(t, u.path("host")) {
		info, err := os.Lstat(u.path("host", name))
		if err != nil {
			t.Fatal(err)
		}
		o.Files[name] = fmt.Sprintf("%v %x", info.Mode(), sha256.Sum256(uploadID.ReplaceAll(data, []byte(`"upload":0`))))
	}
	var found []map[string]any
	if err := json.Unmarshal([]byte(dockerOutput(t, "container", "inspect", u.container)), &found); err != nil || len(found) != 1 {
		t.Fatalf("%d containers: %v", len(found), err)
	}
	if config, ok := found[0]["Config"].(map[string]any); ok {
		delete(config, "Hostname")
	}
	if mounts, ok := found[0]["Mounts"].([]any); ok { // Docker lists them in any order
		slices.SortFunc(mounts, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	}
	o.Container = map[string]any{}
	for _, key := range []string{"Name", "Image", "Config", "HostConfig", "Mounts", "RestartCount"} {
		o.Container[key] = found[0][key]
	}
	o.Container["others"] = dockerOutput(t, "ps", "-a", "--format", "{{.Names}} {{.State}}", "--filter", "name="+u.container)
	var state struct{ Resources []any }
	if err := json.Unmarshal(uploadID.ReplaceAll(mustRead(t, filepath.Join(u.w.dir, "terraform.tfstate")), []byte(`"upload":0`)), &state); err != nil {
		t.Fatal(err)
	}
	o.State = state.Resources
	return o
}

// uploadID matches the random name of an upload, in its list and in a state.
var uploadID = regexp.MustCompile(`"upload(_id)?": *"[A-Z2-7]{26}"`)

// moments is how many times an apply is cut off. Each takes two applies.
var moments = flag.Int("unplug.moments", 3, "cut the connection at so many moments of an apply")

// TestUnplugged cuts the SSH connection at moments spread over an apply, a
// third of them while the image is sent, and leaves it cut. Applying again
// always ends in what an undisturbed apply ends in.
func TestUnplugged(t *testing.T) {
	t.Parallel()
	u := newUnplugged(t)
	measure := func() (int64, aftermath) {
		u.cable.mend(0)
		u.w.terraform("apply", "-auto-approve")
		passed, _ := u.cable.state()
		return passed, u.aftermath()
	}
	withImage, want := measure()
	image, _ := want.Container["Image"].(string)
	t.Cleanup(func() { u.reset(image) })
	u.reset("")
	withoutImage, again := measure()
	if diff := cmp.Diff(want, again); diff != "" {
		t.Fatalf("two applies that nothing disturbs differ (-first +second)\n%s", diff)
	}
	t.Logf("an apply is %d bytes with the image and %d without", withImage, withoutImage)

	ofImage := *moments / 3
	for i := range *moments {
		total, gone := withoutImage, ""
		part, parts := i-ofImage, *moments-ofImage
		if i < ofImage {
			total, gone, part, parts = withImage, image, i, ofImage
		}
		limit := max(1, int64((float64(part)+rand.Float64())/float64(parts)*float64(total)))
		for ; ; limit = limit * 4 / 5 {
			u.reset(gone)
			u.cable.mend(limit)
			stdout, stderr, err := u.w.try("apply", "-auto-approve")
			if _, broken := u.cable.state(); !broken {
				if err != nil {
					t.Fatalf("an apply that nothing disturbs fails: %v\n%s%s", err, stdout, stderr)
				}
				continue // it took less than was measured, as it waits for the server by asking
			}
			if err != nil {
				break
			}
		}
		u.cable.mend(0)
		u.w.terraform("apply", "-auto-approve")
		if diff := cmp.Diff(want, u.aftermath()); diff != "" {
			t.Errorf("cut after %d of %d bytes, then applied again (-undisturbed +cut)\n%s", limit, total, diff)
		}
	}
}
