package charttest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"
)

// TestPosture asserts, of every example, what kube-score and the restricted Pod Security Standard ask for, and what this server
// needs beyond that.
func TestPosture(t *testing.T) {
	for name, file := range valueFiles(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := decode(t, mustRender(t, readValues(t, file)))
			for _, problem := range problems(all) {
				if name == "one" && problem == "there is no NetworkPolicy" {
					continue // it says so
				}
				t.Error(problem)
			}
		})
	}
}

// TestPostureNotices: each assertion of TestPosture fails when what it asks for is missing. Else it would prove nothing.
func TestPostureNotices(t *testing.T) {
	files := mustRender(t, readValues(t, valueFiles(t)["production"]))
	pod := func(o *objects) *corev1.PodSpec { return &o.deployment.Spec.Template.Spec }
	server := func(o *objects) *corev1.Container { return &pod(o).Containers[0] }
	no, root := false, int64(0)
	for what, spoil := range map[string]func(o *objects){
		"runs as root":                func(o *objects) { pod(o).SecurityContext.RunAsUser = &root },
		"may run as root":             func(o *objects) { pod(o).SecurityContext.RunAsNonRoot = &no },
		"no group for keys":           func(o *objects) { pod(o).SecurityContext.FSGroup = nil },
		"no seccomp":                  func(o *objects) { pod(o).SecurityContext.SeccompProfile.Type = "Unconfined" },
		"token":                       func(o *objects) { pod(o).AutomountServiceAccountToken = nil },
		"host network":                func(o *objects) { pod(o).HostNetwork = true },
		"second container":            func(o *objects) { pod(o).Containers = append(pod(o).Containers, corev1.Container{Name: "sidecar"}) },
		"not spread":                  func(o *objects) { pod(o).TopologySpreadConstraints = nil },
		"writable root file system":   func(o *objects) { server(o).SecurityContext.ReadOnlyRootFilesystem = &no },
		"escalation":                  func(o *objects) { server(o).SecurityContext.AllowPrivilegeEscalation = nil },
		"capability":                  func(o *objects) { server(o).SecurityContext.Capabilities.Add = []corev1.Capability{"NET_ADMIN"} },
		"image by tag":                func(o *objects) { server(o).Image = "registry.example.com/k:latest" },
		"no memory limit":             func(o *objects) { delete(server(o).Resources.Limits, corev1.ResourceMemory) },
		"no request of CPU":           func(o *objects) { delete(server(o).Resources.Requests, corev1.ResourceCPU) },
		"no disk limit":               func(o *objects) { delete(server(o).Resources.Limits, corev1.ResourceEphemeralStorage) },
		"no readiness":                func(o *objects) { server(o).ReadinessProbe = nil },
		"liveness asks for readiness": func(o *objects) { server(o).LivenessProbe.HTTPGet.Path = "/readyz" },
		"probe of a closed port":      func(o *objects) { server(o).ReadinessProbe.HTTPGet.Port.StrVal = "absent" },
		"no pause before the end":     func(o *objects) { server(o).Lifecycle = nil },
		"killed while it drains":      func(o *objects) { *pod(o).TerminationGracePeriodSeconds = 40 },
		"key mounted by subPath":      func(o *objects) { server(o).VolumeMounts[0].SubPath = "config.yaml" },
		"key that all can read":       func(o *objects) { *pod(o).Volumes[0].Projected.DefaultMode = 0o444 },
		"key in the environment":      func(o *objects) { server(o).EnvFrom = []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{}}} },
		"volume of the host": func(o *objects) {
			pod(o).Volumes[1].VolumeSource = corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}
		},
		"config that can be written":   func(o *objects) { server(o).VolumeMounts[0].ReadOnly = false },
		"Service of other pods":        func(o *objects) { o.services["keys"].Spec.Selector["app.kubernetes.io/name"] = "other" },
		"Service of a closed port":     func(o *objects) { o.services["keys"].Spec.Ports[0].TargetPort.StrVal = "absent" },
		"admin listener for all":       func(o *objects) { o.services["keys-admin"].Spec.Type = corev1.ServiceTypeLoadBalancer },
		"unready servers for enclaves": func(o *objects) { o.services["keys"].Spec.PublishNotReadyAddresses = true },
		"policy of other pods":         func(o *objects) { o.policy.Spec.PodSelector.MatchLabels["app.kubernetes.io/instance"] = "other" },
		"policy of one direction":      func(o *objects) { o.policy.Spec.PolicyTypes = o.policy.Spec.PolicyTypes[:1] },
		"everybody may connect":        func(o *objects) { o.policy.Spec.Ingress[0].From = nil },
		"every port may be met":        func(o *objects) { o.policy.Spec.Ingress[0].Ports = nil },
		"the server may go anywhere": func(o *objects) {
			o.policy.Spec.Egress = append(o.policy.Spec.Egress, networkingv1.NetworkPolicyEgressRule{})
		},
		"budget of other pods": func(o *objects) { o.budget.Spec.Selector.MatchLabels["app.kubernetes.io/name"] = "other" },
		"no budget":            func(o *objects) { o.budget = nil },
		"all ended at once":    func(o *objects) { o.deployment.Spec.Strategy.Type = appsv1.RecreateDeploymentStrategyType },
		"account with a token": func(o *objects) { o.account.AutomountServiceAccountToken = nil },
		"another account":      func(o *objects) { pod(o).ServiceAccountName = "default" },
	} {
		all := decode(t, files)
		spoil(all)
		if len(problems(all)) == 0 {
			t.Errorf("%s: nothing is said of it", what)
		}
	}
}

func problems(o *objects) []string {
	return slices.Concat(podProblems(o.deployment), containerProblems(&o.deployment.Spec.Template.Spec.Containers[0]), drainProblems(o),
		volumeProblems(o.deployment), serviceProblems(o), policyProblems(o), availabilityProblems(o), accountProblems(o))
}

func is[T comparable](p *T, want T) bool { return p != nil && *p == want }

func podProblems(d *appsv1.Deployment) (problems []string) {
	p := &d.Spec.Template.Spec
	s := p.SecurityContext
	for _, must := range []struct {
		holds bool
		what  string
	}{
		{s != nil && is(s.RunAsNonRoot, true) && is(s.RunAsUser, 65532) && is(s.RunAsGroup, 65532) && is(s.FSGroup, 65532), "the pod runs as 65532, which is in no system a person, with its group for mounted keys"},
		{s != nil && s.SeccompProfile != nil && s.SeccompProfile.Type == corev1.SeccompProfileTypeRuntimeDefault, "the pod has the runtime's seccomp profile"},
		{is(p.AutomountServiceAccountToken, false), "the pod has no token"},
		{!p.HostNetwork && !p.HostPID && !p.HostIPC && !is(p.ShareProcessNamespace, true), "the pod shares nothing of the host's"},
		{is(p.EnableServiceLinks, false), "the pod's environment tells of no other services"},
		{len(p.Containers) == 1 && len(p.InitContainers) == 0 && len(p.EphemeralContainers) == 0, "there is one container, for the keys are its own"},
	} {
		if !must.holds {
			problems = append(problems, "must hold: "+must.what)
		}
	}
	spread := map[string]bool{}
	for _, c := range p.TopologySpreadConstraints {
		if c.MaxSkew == 1 && selects(c.LabelSelector, d.Spec.Template.Labels) {
			spread[c.TopologyKey] = true
		}
	}
	if !spread["kubernetes.io/hostname"] || !spread["topology.kubernetes.io/zone"] {
		problems = append(problems, "the pods are not spread over hosts and zones")
	}
	if !selects(d.Spec.Selector, d.Spec.Template.Labels) {
		problems = append(problems, "the Deployment does not select its own pods")
	}
	return problems
}

func selects(s *metav1.LabelSelector, set map[string]string) bool {
	if s == nil || len(s.MatchLabels) == 0 {
		return false
	}
	selector, err := metav1.LabelSelectorAsSelector(s)
	return err == nil && selector.Matches(labels.Set(set))
}

func containerProblems(c *corev1.Container) (problems []string) {
	s := c.SecurityContext
	if s == nil || !is(s.AllowPrivilegeEscalation, false) || !is(s.ReadOnlyRootFilesystem, true) || !is(s.RunAsNonRoot, true) || is(s.Privileged, true) || s.RunAsUser != nil ||
		s.Capabilities == nil || len(s.Capabilities.Add) > 0 || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) ||
		s.SeccompProfile == nil || s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		problems = append(problems, fmt.Sprintf("the container is not restricted: %+v", s))
	}
	if _, digest, found := strings.Cut(c.Image, "@sha256:"); !found || len(digest) != 64 || strings.Contains(strings.SplitAfterN(c.Image, "/", 2)[1], ":") && strings.Count(c.Image, ":") > 1 {
		problems = append(problems, "the image is not named by its digest alone: "+c.Image)
	}
	for _, list := range []struct {
		name string
		list corev1.ResourceList
		want []corev1.ResourceName
	}{
		{"request", c.Resources.Requests, []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage}},
		{"limit", c.Resources.Limits, []corev1.ResourceName{corev1.ResourceMemory, corev1.ResourceEphemeralStorage}},
	} {
		for _, r := range list.want {
			if q, ok := list.list[r]; !ok || q.Sign() <= 0 {
				problems = append(problems, fmt.Sprintf("there is no %s of %s", list.name, r))
			}
		}
	}
	ports := map[string]int32{}
	for _, p := range c.Ports {
		ports[p.Name] = p.ContainerPort
	}
	for _, probe := range []struct {
		name, path string
		probe      *corev1.Probe
	}{{"startup", "/healthz", c.StartupProbe}, {"liveness", "/healthz", c.LivenessProbe}, {"readiness", "/readyz", c.ReadinessProbe}} {
		if p := probe.probe; p == nil || p.HTTPGet == nil || p.HTTPGet.Path != probe.path || ports[p.HTTPGet.Port.StrVal] != 9434 {
			problems = append(problems, fmt.Sprintf("the %s probe does not ask the health listener for %s", probe.name, probe.path))
		}
	}
	if len(c.EnvFrom) > 0 {
		problems = append(problems, "the environment is taken from elsewhere")
	}
	for _, e := range c.Env {
		if e.ValueFrom == nil || e.ValueFrom.FieldRef == nil {
			problems = append(problems, "the environment has "+e.Name+": keys are not handed over there, nor is anything else")
		}
	}
	return problems
}

// drainProblems: the pod is killed no sooner than the server is done.
func drainProblems(o *objects) []string {
	p := &o.deployment.Spec.Template.Spec
	c := &p.Containers[0]
	if c.Lifecycle == nil || c.Lifecycle.PreStop == nil || c.Lifecycle.PreStop.Sleep == nil || c.Lifecycle.PreStop.Sleep.Seconds < 1 {
		return []string{"the server stops listening before the cluster knows"}
	}
	drain := 15 * time.Second // of the example that signs its configuration elsewhere
	if o.config != nil {
		var config struct {
			Limits struct {
				DrainTimeout string `json:"drain_timeout"`
			} `json:"limits"`
		}
		if err := yaml.Unmarshal([]byte(o.config.Data["config.yaml"]), &config); err != nil {
			return []string{err.Error()}
		}
		var err error
		if drain, err = time.ParseDuration(config.Limits.DrainTimeout); err != nil {
			return []string{err.Error()}
		}
	}
	if want := c.Lifecycle.PreStop.Sleep.Seconds + int64(drain.Seconds()) + 10; !is(p.TerminationGracePeriodSeconds, want) {
		return []string{fmt.Sprintf("the grace period is not %d seconds: what comes before the end, %s for connections and 10 to account for it", want, drain)}
	}
	return nil
}

func volumeProblems(d *appsv1.Deployment) (problems []string) {
	p := &d.Spec.Template.Spec
	mounts := map[string]corev1.VolumeMount{}
	for _, m := range p.Containers[0].VolumeMounts {
		mounts[m.Name] = m
	}
	for _, v := range p.Volumes {
		m, mounted := mounts[v.Name]
		switch {
		case !mounted:
			problems = append(problems, v.Name+" is not mounted")
		case v.Projected != nil:
			if !is(v.Projected.DefaultMode, 0o440) {
				problems = append(problems, v.Name+": its keys are not for owner and group alone")
			}
			for _, s := range v.Projected.Sources {
				if s.ServiceAccountToken != nil {
					problems = append(problems, v.Name+" holds a token")
				}
			}
			fallthrough
		case v.CSI != nil:
			if !m.ReadOnly || m.SubPath != "" || m.SubPathExpr != "" {
				problems = append(problems, v.Name+" can be written, or would never change: "+m.String())
			}
		case v.EmptyDir != nil:
			if v.EmptyDir.SizeLimit == nil {
				problems = append(problems, v.Name+" may fill the node")
			}
		case v.PersistentVolumeClaim != nil:
			if m.SubPathExpr != "$(POD_NAME)" {
				problems = append(problems, v.Name+" is not divided among the pods")
			}
		case v.Ephemeral != nil:
		default:
			problems = append(problems, v.Name+" is a volume that nothing is known of")
		}
	}
	return problems
}

func serviceProblems(o *objects) (problems []string) {
	ports := map[string]int32{}
	for _, p := range o.deployment.Spec.Template.Spec.Containers[0].Ports {
		ports[p.Name] = p.ContainerPort
	}
	for name, s := range o.services {
		if !selects(&metav1.LabelSelector{MatchLabels: s.Spec.Selector}, o.deployment.Spec.Template.Labels) {
			problems = append(problems, name+" does not lead to the server")
		}
		want := int32(4433)
		if strings.HasSuffix(name, "-admin") {
			want = 9433
			if s.Spec.Type != corev1.ServiceTypeClusterIP {
				problems = append(problems, name+" shows the admin listener beyond the cluster")
			}
		} else if s.Spec.PublishNotReadyAddresses {
			problems = append(problems, name+" leads to servers that serve nobody")
		}
		if len(s.Spec.Ports) != 1 || ports[s.Spec.Ports[0].TargetPort.StrVal] != want || s.Spec.Ports[0].Protocol != corev1.ProtocolTCP {
			problems = append(problems, fmt.Sprintf("%s does not lead to port %d alone", name, want))
		}
	}
	return problems
}

func policyProblems(o *objects) (problems []string) {
	if o.policy == nil {
		return []string{"there is no NetworkPolicy"}
	}
	s := &o.policy.Spec
	if !selects(&s.PodSelector, o.deployment.Spec.Template.Labels) {
		problems = append(problems, "the NetworkPolicy is of other pods")
	}
	if !slices.Equal(s.PolicyTypes, []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}) {
		problems = append(problems, "the NetworkPolicy is of one direction")
	}
	for i, r := range s.Ingress {
		if len(r.From) == 0 || len(r.Ports) != 1 {
			problems = append(problems, fmt.Sprintf("ingress[%d] is open to everybody, or to every port", i))
		}
	}
	for i, r := range s.Egress {
		if len(r.To) == 0 || len(r.Ports) == 0 {
			problems = append(problems, fmt.Sprintf("egress[%d] leads everywhere", i))
		}
	}
	return problems
}

func availabilityProblems(o *objects) (problems []string) {
	d := o.deployment
	if is(d.Spec.Replicas, 1) {
		if o.budget != nil {
			problems = append(problems, "a budget for a single server keeps its node from being drained, or does nothing")
		}
		return problems
	}
	u := d.Spec.Strategy.RollingUpdate
	if d.Spec.Strategy.Type != appsv1.RollingUpdateDeploymentStrategyType || u == nil || u.MaxUnavailable.IntValue() != 0 || u.MaxSurge.IntValue() < 1 {
		problems = append(problems, "a server ends before the next one is ready")
	}
	switch {
	case o.budget == nil:
		problems = append(problems, "there is no PodDisruptionBudget")
	case !selects(o.budget.Spec.Selector, d.Spec.Template.Labels) || o.budget.Spec.UnhealthyPodEvictionPolicy == nil:
		problems = append(problems, "the PodDisruptionBudget is of other pods, or guards sick ones")
	}
	return problems
}

func accountProblems(o *objects) []string {
	if o.account == nil {
		return nil
	}
	if !is(o.account.AutomountServiceAccountToken, false) || o.account.Name != o.deployment.Spec.Template.Spec.ServiceAccountName {
		return []string{"the pods' account has a token, or is another"}
	}
	return nil
}

// TestOnlyRestartsWhatMust: a rule, a key or a limit is taken up by the servers that run; what they cannot take up restarts them.
func TestOnlyRestartsWhatMust(t *testing.T) {
	values := readValues(t, valueFiles(t)["minimal"])
	before := decode(t, mustRender(t, values))
	for _, tt := range []struct {
		name     string
		changes  map[string]any
		restarts bool
	}{
		{"nothing", nil, false},
		{"collateral", object("config.collateral.max_age", "24h"), false},
		{"limits", object("config.limits.handshake_timeout", "3s"), false},
		{"rules", object("config.rules", list(object("name", "other", "mr_enclave", list(strings.Repeat("ab", 32)), "tcb", object("accept", list("UpToDate")), "secret", "resnet50"))), false},
		{"encoding", object("secrets", list(object("name", "resnet50", "secretName", "resnet50-wrap-key", "encoding", "hex"))), false},
		{"clients", object("networkPolicy.clients", list(object("podSelector", object()))), false},
		{"rotation of the audit log", object("audit.rotateSize", "1MiB"), true},
		{"names of the admin listener", object("admin.serverNames", list("keys.example.com")), false},
		{"TLS of the admin listener", object("admin.tls.secretName", "keys-admin"), true},
		{"another key", object("secrets", list(object("name", "resnet50", "secretName", "other"))), true},
	} {
		after := decode(t, mustRender(t, with(values, tt.changes)))
		if diff := cmp.Diff(before.deployment.Spec.Template, after.deployment.Spec.Template); (diff != "") != tt.restarts {
			t.Errorf("%s: restarts is %v, want %v\n%s", tt.name, diff != "", tt.restarts, diff)
		}
	}
}
