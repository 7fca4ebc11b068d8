package kmskey

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/ecs"
)

// Networks by which the service is reached.
const (
	NetworkPublic = "public"
	NetworkVPC    = "vpc"
)

// Account says which region's service is asked, and as whom. What is empty is for the environment to say, but for credentials
// where Profile or ECSRoleName names some: then the environment's do not count.
type Account struct {
	Region  string
	Network string // [NetworkPublic] (also when empty) or [NetworkVPC]
	// Endpoint is another address of the service, HOST or HOST:PORT, such as that of an instance of KMS.
	Endpoint string
	// Profile is one of CredentialsFile, or of the aliyun command's own file.
	Profile         string
	CredentialsFile string
	ECSRoleName     string // the RAM role of the ECS instance that this runs on
}

// Check tells what is wrong with it, as far as it can be told without the environment.
func (a Account) Check() error {
	switch {
	case a.Network != "" && a.Network != NetworkPublic && a.Network != NetworkVPC:
		return fmt.Errorf("%q is not a network; write %q or %q", a.Network, NetworkPublic, NetworkVPC)
	case a.Endpoint != "" && a.Network != "":
		return errors.New("it has both an endpoint and a network, which says which endpoint it is")
	case a.Profile != "" && a.ECSRoleName != "":
		return errors.New("it has both a profile and the role of an ECS instance")
	case a.CredentialsFile != "" && a.Profile == "":
		return errors.New("it has a file of credentials, and no profile in it")
	}
	return nil
}

// pace is quicker than that of resources: a person or a starting server waits.
var pace = ecs.Backoff{Min: 200 * time.Millisecond, Max: 5 * time.Second}

// Client makes a client, to be closed. It calls nobody.
func (a Account) Client() (*ecs.Client, error) {
	if err := a.Check(); err != nil {
		return nil, fmt.Errorf("configure Alibaba Cloud: %w", err)
	}
	conf, err := ecs.ConfigOf(a.setting)
	if err != nil {
		return nil, err
	}
	if conf.Endpoints.KMS == "" && a.Network == NetworkVPC {
		conf.Endpoints.KMS = "kms-vpc." + conf.Region + ".aliyuncs.com"
	}
	conf.UserAgent, conf.Backoff = "ccctl", pace
	return ecs.New(conf)
}

// setting is what the account says, and else the environment.
func (a Account) setting(name string) string {
	named := a.Profile != "" || a.ECSRoleName != ""
	environment := ecs.FromEnvironment(name)
	switch name {
	case "region":
		return cmp.Or(a.Region, environment)
	case "shared_credentials_file":
		return cmp.Or(a.CredentialsFile, environment)
	case "endpoints.kms":
		return cmp.Or(a.Endpoint, environment)
	case "endpoints.ecs", "endpoints.vpc", "endpoints.sts":
		return environment
	}
	if !named {
		return environment
	}
	// Keys of the environment would come before what was named.
	return map[string]string{"profile": a.Profile, "ecs_role_name": a.ECSRoleName}[name]
}
