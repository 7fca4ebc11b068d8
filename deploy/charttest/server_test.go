package charttest

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

var (
	etcd      = flag.String("etcd", "", "program etcd, for TestAPIServer")
	apiServer = flag.String("kube-apiserver", "", "program kube-apiserver, for TestAPIServer")
)

// cluster is an API server, without nodes: it checks and keeps objects, and nothing runs.
type cluster struct {
	t   *testing.T
	url string
}

// startCluster starts etcd and an API server on loopback, until the test ends.
func startCluster(t *testing.T) *cluster {
	t.Helper()
	dir := t.TempDir()
	store, peers, api := freePort(t), freePort(t), freePort(t)
	run := func(program string, args ...string) {
		t.Helper()
		log := &bytes.Buffer{}
		cmd := exec.CommandContext(t.Context(), program, args...) //nolint:gosec // The operator names the programs.
		cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			if t.Failed() {
				lines := strings.Split(strings.TrimSpace(log.String()), "\n")
				t.Logf("the end of %s's log:\n%s", filepath.Base(program), strings.Join(lines[max(0, len(lines)-15):], "\n"))
			}
		})
	}
	run(*etcd, "--data-dir", filepath.Join(dir, "etcd"), "--listen-client-urls", "http://"+store, "--advertise-client-urls", "http://"+store,
		"--listen-peer-urls", "http://"+peers, "--initial-advertise-peer-urls", "http://"+peers, "--initial-cluster", "default=http://"+peers)
	for name, text := range map[string]string{"tokens.csv": "test-token,test,test,\"system:masters\"\n", "account.key": string(newRSAKey(t))} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, port, err := net.SplitHostPort(api)
	if err != nil {
		t.Fatal(err)
	}
	run(*apiServer, "--etcd-servers=http://"+store, "--bind-address=127.0.0.1", "--secure-port="+port, "--cert-dir="+dir, "--token-auth-file=tokens.csv",
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file=account.key", "--service-account-signing-key-file=account.key",
		"--authorization-mode=RBAC", "--service-cluster-ip-range=10.0.0.0/24", "--disable-admission-plugins=ServiceAccount")
	c := &cluster{t: t, url: "https://" + api}
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		status, body := c.ask(http.MethodGet, "/readyz", nil)
		if status == http.StatusOK {
			return c
		}
		if time.Now().After(deadline) {
			t.Fatalf("the API server is not ready: %d %s", status, body)
		}
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// ask sends an object; status 0 is no answer.
func (c *cluster) ask(method, path string, object any) (status int, body string) {
	c.t.Helper()
	raw, err := json.Marshal(object)
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, bytes.NewReader(raw))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer test-token")
	req.Header.Set("Content-Type", "application/json")
	if method == http.MethodPatch {
		req.Header.Set("Content-Type", "application/apply-patch+yaml") // JSON is YAML
	}
	resp, err := loopback.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(answer)
}

// places are where objects of a kind are sent.
var places = map[string]string{
	"Deployment": "/apis/apps/v1/namespaces/%s/deployments", "NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/%s/networkpolicies",
	"PodDisruptionBudget": "/apis/policy/v1/namespaces/%s/poddisruptionbudgets", "ConfigMap": "/api/v1/namespaces/%s/configmaps",
	"PersistentVolumeClaim": "/api/v1/namespaces/%s/persistentvolumeclaims", "Service": "/api/v1/namespaces/%s/services",
	"ServiceAccount": "/api/v1/namespaces/%s/serviceaccounts", "Pod": "/api/v1/namespaces/%s/pods",
}

// send sends an object strictly: an unknown or repeated field is an error, and so is a warning.
func (c *cluster) send(method, query string, object map[string]any) error {
	c.t.Helper()
	kind, _ := object["kind"].(string)
	place, known := places[kind]
	if !known {
		c.t.Fatalf("where does a %q go?", kind)
	}
	meta, _ := object["metadata"].(map[string]any)
	path := fmt.Sprintf(place, meta["namespace"])
	if method == http.MethodPatch {
		path += "/" + fmt.Sprint(meta["name"])
		query += "&fieldManager=helm"
	}
	status, body := c.ask(method, path+"?fieldValidation=Strict&"+query, object)
	if status/100 != 2 {
		return fmt.Errorf("%s %v: %d %s", kind, meta["name"], status, body)
	}
	return nil
}

func read(t *testing.T, manifest string) map[string]any {
	t.Helper()
	var o map[string]any
	if err := yaml.UnmarshalStrict([]byte(manifest), &o); err != nil {
		t.Fatal(err)
	}
	return o
}

// TestAPIServer sends what the chart makes to a real API server: all of it is valid there, the pods are admitted where only
// restricted ones are, and what one example makes can be changed into what another does.
func TestAPIServer(t *testing.T) {
	if *etcd == "" || *apiServer == "" {
		t.Skip("'make kube' builds an API server and gives it with -etcd and -kube-apiserver")
	}
	c := startCluster(t)
	_, version := c.ask(http.MethodGet, "/version", nil)
	t.Logf("API server: %s", strings.Join(strings.Fields(version), " "))
	namespace := object("apiVersion", "v1", "kind", "Namespace", "metadata", object("name", "confidential", "labels", object(
		"pod-security.kubernetes.io/enforce", "restricted", "pod-security.kubernetes.io/enforce-version", "latest")))
	if status, body := c.ask(http.MethodPost, "/api/v1/namespaces", namespace); status != http.StatusCreated {
		t.Fatalf("make a namespace: %d %s", status, body)
	}
	examples := valueFiles(t)
	for _, name := range slices.Sorted(maps.Keys(examples)) {
		t.Run(name, func(t *testing.T) {
			sent := 0
			for _, manifest := range manifests(mustRender(t, readValues(t, examples[name]))) {
				o := read(t, manifest)
				if o["kind"] == "ServiceMonitor" {
					continue // of an extension that this server has not
				}
				sent++
				if err := c.send(http.MethodPost, "dryRun=All", o); err != nil {
					t.Error(err)
				}
				if o["kind"] != "Deployment" {
					continue
				}
				// Admission looks at pods, and nothing here would make any of a Deployment.
				spec, _ := o["spec"].(map[string]any)
				pod, _ := spec["template"].(map[string]any)
				pod = with(pod, object("apiVersion", "v1", "kind", "Pod", "metadata.name", "one", "metadata.namespace", "confidential"))
				if err := c.send(http.MethodPost, "dryRun=All", pod); err != nil {
					t.Error(err)
				}
				for _, tt := range []struct {
					what string
					at   []string
					to   any
				}{
					{"runs as root", []string{"spec", "securityContext", "runAsUser"}, 0},
					{"has no seccomp profile", []string{"spec", "securityContext", "seccompProfile", "type"}, "Unconfined"},
					{"shares the host's network", []string{"spec", "hostNetwork"}, true},
				} {
					if err := c.send(http.MethodPost, "dryRun=All", change(pod, tt.at, tt.to)); err == nil || !strings.Contains(err.Error(), `violates PodSecurity \"restricted:latest\"`) {
						t.Errorf("a pod that %s: %v", tt.what, err)
					}
				}
			}
			t.Logf("%d objects are valid", sent)
		})
	}

	// A release that is changed, by server-side apply as Helm 4 does it: nothing that cannot be changed in place differs between values.
	values := readValues(t, examples["minimal"])
	for _, manifest := range manifests(mustRender(t, values)) {
		if err := c.send(http.MethodPatch, "", read(t, manifest)); err != nil {
			t.Error(err)
		}
	}
	for what, changes := range map[string]map[string]any{
		"scaled, another image": object("replicas", 5, "image.digest", "sha256:"+strings.Repeat("ab", 32)),
		"an admin listener":     object("admin.tls.secretName", "keys-admin", "networkPolicy.admin", list(object("podSelector", object()))),
		"audit to a volume":     object("audit.to", "claim"),
		"a load balancer":       object("service.type", "LoadBalancer"),
		"another spread":        object("topologySpread.hosts", "DoNotSchedule", "podAnnotations", object("a", "b")),
	} {
		for _, manifest := range manifests(mustRender(t, with(values, changes))) {
			if err := c.send(http.MethodPatch, "dryRun=All", read(t, manifest)); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
	// What the server refuses it refuses of this chart too.
	service := mustRender(t, with(values, object("service.port", 4433)))["service.yaml"]
	if err := c.send(http.MethodPost, "dryRun=All", read(t, strings.Replace(service, "publishNotReadyAddresses", "publishNotreadyAddresses", 1))); err == nil || !strings.Contains(err.Error(), "unknown field") {
		t.Errorf("a misspelt field: %v", err)
	}
}

// loopback asks a server that the test has started itself, whose certificate it has not seen.
var loopback = &http.Client{Transport: &http.Transport{
	DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // See above.
}}

// newRSAKey is a key for tokens that nobody is given.
func newRSAKey(t *testing.T) []byte {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
}
