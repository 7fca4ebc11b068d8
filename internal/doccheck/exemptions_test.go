package doccheck

// Why commands are not run by a session.
const (
	builds   = "the tests build the same programs with go build"
	isCI     = "continuous integration runs it"
	aCluster = "it needs a cluster; deploy/charttest renders the chart with the values of the guide by the code of Helm itself"
	anImage  = "it needs Docker and a registry; internal/image makes the same image and is tested against Docker"
	inCloud  = "it makes machines on Alibaba Cloud; TestEndToEnd of internal/resources applies the same files to a simulated one"
)

// notRun lists the commands of the documentation that no session runs.
var notRun = []exemption{
	{"README.md", "make demo", isCI},
	{"README.md", "make test", isCI},
	{"CONTRIBUTING.md", "make demo", isCI},
	{"CONTRIBUTING.md", "make test", isCI},
	{"examples/complete/README.md", "cat >my.auto.tfvars <<END", inCloud},
	{"examples/complete/README.md", "terraform plan", inCloud},
	{"examples/complete/README.md", "terraform apply", inCloud},
	{
		"examples/own-machine/README.md", `terraform apply -var machine=203.0.113.7 -var 'host_keys=["ssh-ed25519 AAAA..."]' -var serving_machine=198.51.100.9 ` +
			`-var 'serving_host_keys=["ssh-ed25519 AAAA..."]' -var model=saved_model.pb -var mr_enclave=7de5... -var mr_signer=b11a...`,
		"it needs two machines with SSH; TestExamplesAreValid of internal/resources validates the files, and tests there apply the same resources to machines of their own",
	},
	{"docs/guides/from-the-tutorial.md", "cd examples/complete", inCloud},
	{"docs/guides/from-the-tutorial.md", "terraform plan", inCloud},
	{"docs/guides/from-the-tutorial.md", "terraform apply", inCloud},
	{"docs/guides/getting-started.md", "make demo", isCI},
	{"docs/guides/getting-started.md", "make build", builds},
	{"docs/guides/getting-started.md", "kill %1", "a script has no jobs: the session ends the service by its name"},
	{"docs/guides/kubernetes.md", "CGO_ENABLED=0 GOOS=linux GOARCH=amd64 go build -trimpath -o image/ccctl ./cmd/ccctl", anImage},
	{"docs/guides/kubernetes.md", "cat >image/Dockerfile <<END", anImage},
	{"docs/guides/kubernetes.md", "docker build -t registry.example.com/cc-key-server image", anImage},
	{"docs/guides/kubernetes.md", "docker push registry.example.com/cc-key-server", anImage},
	{"docs/guides/kubernetes.md", "kubectl create namespace keys", aCluster},
	{"docs/guides/kubernetes.md", "kubectl label namespace keys pod-security.kubernetes.io/enforce=restricted", aCluster},
	{"docs/guides/kubernetes.md", "kubectl -n keys create secret generic resnet50-wrap-key --from-file=wrap-key=wrap-key", aCluster},
	{"docs/guides/kubernetes.md", "kubectl -n keys create secret tls keys-example-com-tls --cert=tls/server/cert.pem --key=tls/server/key.pem", aCluster},
	{"docs/guides/kubernetes.md", "kubectl -n keys create secret generic checkpoint --from-file=checkpoint.key=checkpoint.key", aCluster},
	{"docs/guides/kubernetes.md", "helm lint deploy/cc-keyserver -f values.yaml", aCluster},
	{"docs/guides/kubernetes.md", "helm upgrade --install keys deploy/cc-keyserver -n keys -f values.yaml", aCluster},
	{"docs/guides/kubernetes.md", "kubectl -n keys rollout status deployment/keys-cc-keyserver", aCluster},
	{"docs/guides/kubernetes.md", "kubectl -n keys exec deployment/keys-cc-keyserver -- /ccctl keyserver status --state-file /run/cc-key-server/state.json", aCluster},
	{"docs/guides/kubernetes.md", "kubectl -n keys port-forward deployment/keys-cc-keyserver 9433", aCluster},
	{"docs/guides/kubernetes.md", "kubectl -n keys logs -l app.kubernetes.io/name=cc-keyserver --prefix --since=5m", aCluster},
	{"docs/guides/kubernetes.md", `kubectl -n keys logs deployment/keys-cc-keyserver | grep '^{"seq":' >collected.log`, aCluster},
	{"docs/guides/kubernetes.md", "helm template keys deploy/cc-keyserver -n keys -f values.yaml --show-only templates/configmap.yaml >configmap.yaml", aCluster},
	{"docs/guides/kubernetes.md", `kubectl create -f configmap.yaml --dry-run=client -o jsonpath='{.data.config\.yaml}' >config.yaml`, aCluster},
	{"docs/guides/kubernetes.md", "kubectl -n keys create configmap signed-configuration --from-file=config.yaml --from-file=config.yaml.sig", aCluster},
	{"docs/guides/secrets-and-state.md", "ccctl wrap-key seal -w wrap-key --kms-key alias/models --context model=resnet50 -o wrap-key.kms", "it needs a key service; the script wrap_key_seal of cmd/ccctl seals with a simulated one"},
	{"docs/guides/secrets-and-state.md", "ccctl wrap-key fingerprint vault:kv:secret/models/resnet50", "it needs a Vault; the tests of internal/keysource/vaultkey open references against OpenBao"},
}

// otherTests are the guides whose messages, and not commands, are held against the programs, and by which test.
var otherTests = map[string]string{
	"docs/guides/fault-day.md": "the tests that each of its rows names, and internal/testfault",
}
