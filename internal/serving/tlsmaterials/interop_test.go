package tlsmaterials

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestInteropSSLConfig has Google's own text format parser read ssl.cfg, by the
// definition of tensorflow.serving.SSLConfig.
func TestInteropSSLConfig(t *testing.T) {
	python := os.Getenv("CC_TENSORFLOW_PYTHON")
	if python == "" {
		t.Skip("CC_TENSORFLOW_PYTHON does not name a Python that has google.protobuf; scripts/interop.sh makes one")
	}
	twoWay, oneWay := newTestMaterials(t), newTestMaterials(t)
	oneWay.Leaves = oneWay.Leaves[:1]
	for name, m := range map[string]*Materials{"two-way": twoWay, "one-way": oneWay} {
		t.Run(name, func(t *testing.T) {
			data := must[[]byte](t)(m.MarshalSSLConfig())
			cmd := exec.CommandContext(t.Context(), python, "testdata/interop.py")
			cmd.Stdin = bytes.NewReader(data)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v\n%s", err, &stderr)
			}
			var got struct {
				ServerKey    string `json:"server_key"`
				ServerCert   string `json:"server_cert"`
				CustomCA     string `json:"custom_ca"`
				ClientVerify bool   `json:"client_verify"`
			}
			if err := json.Unmarshal(out, &got); err != nil {
				t.Fatal(err)
			}
			want := SSLConfig{ServerKey: string(server(m).Key.PEM()), ServerCert: string(server(m).CertificatePEM())}
			if name == "two-way" {
				want.CustomCA, want.ClientVerify = string(m.AuthoritiesPEM()), true
			}
			if diff := cmp.Diff(want, SSLConfig(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}
