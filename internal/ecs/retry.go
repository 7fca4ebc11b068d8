package ecs

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

// action is a row of the table of calls: where it goes, how long it may take,
// and what its codes mean.
type action struct {
	name    string
	product product
	// timeout of one attempt, from connecting to the last byte. The figures
	// follow the SDK's table (sdk/api_timeout.go), with 20 s where it has none.
	timeout time.Duration
	// token tells that the call takes a ClientToken, which makes a repeated
	// call the same call.
	token bool
	// write tells that the call changes something. A write without a token is
	// listed only if repeating it changes nothing more.
	write bool
	// busy are the codes of a state that passes.
	busy []string
	// done are the codes that mean that the wished state is there already.
	done []string
	// missing are the codes by which the resource that the call is about does
	// not exist. No other code means that.
	missing []string
	// remedies say what to do about codes of this action; they come before those
	// that hold for all.
	remedies map[string]string
	// secretReply tells that the answer holds a key: nothing of it is repeated,
	// and it is wiped when it has been read.
	secretReply bool
}

type product struct{ name, version string }

var (
	productECS = product{"ecs", "2014-05-26"}
	productVPC = product{"vpc", "2016-04-28"}
	productSTS = product{"sts", "2015-04-01"}
	productKMS = product{"kms", "2016-01-20"}
)

const usualTimeout = 20 * time.Second

// Codes that several actions share.
var (
	noInstance = []string{"InvalidInstanceId.NotFound", "InvalidInstanceID.NotFound"}
	noGroup    = []string{"InvalidSecurityGroupId.NotFound", "InvalidSecurityGroupID.NotFound"}
	// instanceBusy are the answers of a machine between two states, and of an
	// operation that another one is in the way of.
	instanceBusy = []string{
		"IncorrectInstanceStatus", "IncorrectInstanceStatus.Initializing", "IncorrectInstanceStatus.DiskNotReady",
		"OperationConflict", "Operation.Conflict", "InvalidOperation.Conflict", "TaskConflict",
		"LastRequestProcessing", "LastOrderProcessing", "InternalError.Retry",
	}
	groupBusy = []string{"OperationConflict", "Operation.Conflict", "InvalidOperation.Conflict", "TaskConflict", "IncorrectVpcStatus"}
)

// The calls, alphabetically. Codes come from the ECS API reference's error
// tables and from the retry lists of terraform-provider-alicloud.
var (
	authorizeSecurityGroup = &action{
		name: "AuthorizeSecurityGroup", product: productECS, timeout: usualTimeout, write: true, token: true,
		busy: groupBusy, missing: noGroup,
	}
	assumeRole         = &action{name: "AssumeRole", product: productSTS, timeout: usualTimeout}
	attachInstanceRole = &action{
		name: "AttachInstanceRamRole", product: productECS, timeout: usualTimeout, write: true,
		busy: instanceBusy, missing: noInstance,
	}
	createSecurityGroup = &action{
		name: "CreateSecurityGroup", product: productECS, timeout: 86 * time.Second, write: true, token: true,
		busy: groupBusy,
	}
	deleteInstance = &action{
		name: "DeleteInstance", product: productECS, timeout: 66 * time.Second, write: true,
		busy:    append(slices.Clone(instanceBusy), "DependencyViolation.RouteEntry", "DependencyViolation.SLBConfiguring", "DependencyViolation.InstanceEnterpriseSnatRelation"),
		missing: noInstance,
	}
	deleteSecurityGroup = &action{
		name: "DeleteSecurityGroup", product: productECS, timeout: usualTimeout, write: true,
		busy: groupBusy, missing: noGroup,
	}
	detachInstanceRole = &action{
		name: "DetachInstanceRamRole", product: productECS, timeout: usualTimeout, write: true,
		busy: instanceBusy, missing: noInstance,
	}
	describeAvailableResource = &action{name: "DescribeAvailableResource", product: productECS, timeout: usualTimeout}
	describeCloudAssistant    = &action{name: "DescribeCloudAssistantStatus", product: productECS, timeout: usualTimeout, missing: noInstance}
	describeDisks             = &action{name: "DescribeDisks", product: productECS, timeout: usualTimeout}
	describeImages            = &action{name: "DescribeImages", product: productECS, timeout: 38 * time.Second}
	describeInstanceRole      = &action{name: "DescribeInstanceRamRole", product: productECS, timeout: usualTimeout, missing: noInstance}
	describeInstances         = &action{name: "DescribeInstances", product: productECS, timeout: usualTimeout}
	describeInstanceTypes     = &action{name: "DescribeInstanceTypes", product: productECS, timeout: usualTimeout}
	describeInvocationResults = &action{name: "DescribeInvocationResults", product: productECS, timeout: usualTimeout}
	describeSecurityGroups    = &action{name: "DescribeSecurityGroups", product: productECS, timeout: usualTimeout}
	describeSecurityGroupAttr = &action{name: "DescribeSecurityGroupAttribute", product: productECS, timeout: 133 * time.Second, missing: noGroup}
	describeSecurityGroupRefs = &action{name: "DescribeSecurityGroupReferences", product: productECS, timeout: usualTimeout, missing: noGroup}
	describeNetworkInterfaces = &action{name: "DescribeNetworkInterfaces", product: productECS, timeout: usualTimeout}
	describeUserData          = &action{name: "DescribeUserData", product: productECS, timeout: usualTimeout, missing: noInstance}
	describeVSwitchAttributes = &action{name: "DescribeVSwitchAttributes", product: productVPC, timeout: usualTimeout, missing: []string{"InvalidVSwitchId.NotFound", "InvalidVswitchID.NotFound"}}
	describeZones             = &action{name: "DescribeZones", product: productECS, timeout: usualTimeout}
	getCallerIdentity         = &action{name: "GetCallerIdentity", product: productSTS, timeout: usualTimeout}
	joinResourceGroup         = &action{
		name: "JoinResourceGroup", product: productECS, timeout: usualTimeout, write: true,
		busy: append(slices.Clone(instanceBusy), groupBusy...), missing: []string{"InvalidResourceId.NotFound"},
	}
	joinSecurityGroup = &action{
		name: "JoinSecurityGroup", product: productECS, timeout: usualTimeout, write: true,
		busy: instanceBusy, done: []string{"InvalidInstanceId.AlreadyExists"}, missing: noInstance,
	}
	leaveSecurityGroup = &action{
		name: "LeaveSecurityGroup", product: productECS, timeout: usualTimeout, write: true,
		busy: instanceBusy, done: []string{"InstanceNotInSecurityGroup"}, missing: noInstance,
	}
	modifyInstanceAttribute = &action{name: "ModifyInstanceAttribute", product: productECS, timeout: usualTimeout, write: true, busy: instanceBusy, missing: noInstance}
	modifyInstanceMetadata  = &action{name: "ModifyInstanceMetadataOptions", product: productECS, timeout: usualTimeout, write: true, busy: instanceBusy, missing: noInstance}
	modifyInstanceNetwork   = &action{name: "ModifyInstanceNetworkSpec", product: productECS, timeout: usualTimeout, write: true, token: true, busy: append(slices.Clone(instanceBusy), "UnknownError"), missing: noInstance}
	modifyInstanceSpec      = &action{name: "ModifyInstanceSpec", product: productECS, timeout: 62 * time.Second, write: true, token: true, busy: instanceBusy, missing: noInstance}
	modifySecurityGroup     = &action{name: "ModifySecurityGroupAttribute", product: productECS, timeout: usualTimeout, write: true, busy: groupBusy, missing: noGroup}
	modifySecurityGroupRule = &action{name: "ModifySecurityGroupRule", product: productECS, timeout: usualTimeout, write: true, busy: groupBusy, missing: noGroup}
	revokeSecurityGroup     = &action{
		name: "RevokeSecurityGroup", product: productECS, timeout: usualTimeout, write: true, token: true,
		busy: groupBusy, done: []string{"InvalidGroupAuthItem.NotFound", "SecurityGroupRule.NotFound", "InvalidSecurityGroupRule.RuleNotExist"}, missing: noGroup,
	}
	runCommand = &action{
		name: "RunCommand", product: productECS, timeout: usualTimeout, write: true, token: true,
		busy: []string{"InternalError.Dispatch", "InvalidInstance.NotMatch"}, missing: []string{"InvalidInstance.NotFound"},
	}
	runInstances = &action{
		name: "RunInstances", product: productECS, timeout: 86 * time.Second, write: true, token: true,
		busy: []string{"IncorrectVSwitchStatus", "IncorrectVpcStatus", "OperationDenied.CreatingConflict", "OperationConflict", "TaskConflict"},
	}
	startInstance  = &action{name: "StartInstance", product: productECS, timeout: usualTimeout, write: true, busy: instanceBusy, missing: noInstance}
	stopInstance   = &action{name: "StopInstance", product: productECS, timeout: 27 * time.Second, write: true, busy: instanceBusy, missing: noInstance}
	stopInvocation = &action{name: "StopInvocation", product: productECS, timeout: usualTimeout, write: true, done: []string{"InvalidInvokeId.NotFound"}}
	tagResources   = &action{name: "TagResources", product: productECS, timeout: usualTimeout, write: true, busy: groupBusy, missing: []string{"InvalidResourceId.NotFound"}}
	untagResources = &action{name: "UntagResources", product: productECS, timeout: usualTimeout, write: true, busy: groupBusy, missing: []string{"InvalidResourceId.NotFound"}}
)

// classes are the codes that mean the same in every action. The status of HTTP
// decides nothing where there is a code: throttling has come with 400, 403, 429
// and 503.
var classes = map[string]Class{
	"InvalidAccessKeyId.NotFound": ClassAuth, "InvalidAccessKeyId.Inactive": ClassAuth, "InvalidAccessKeyId": ClassAuth,
	"SignatureDoesNotMatch": ClassAuth, "IncompleteSignature": ClassAuth, "InvalidSignature": ClassAuth,
	"InvalidSecurityToken.Expired": ClassAuth, "InvalidSecurityToken.Malformed": ClassAuth, "InvalidSecurityToken.MismatchWithAccessKey": ClassAuth,
	"MissingSecurityToken": ClassAuth, "Forbidden": ClassAuth, "Forbidden.RAM": ClassAuth, "NoPermission": ClassAuth,
	"Forbidden.AccessKeyDisabled": ClassAuth, "Forbidden.SubUser": ClassAuth, "UnauthorizedOperation": ClassAuth,
	"AuthenticationFail.NoPermission": ClassAuth, "Forbidden.NoPermission": ClassAuth, "Forbidden.AccessKey": ClassAuth, "EntityNotExist.Role": ClassAuth,

	"InvalidTimeStamp.Expired": ClassClock, "InvalidTimeStamp": ClassClock, "IllegalTimestamp": ClassClock, "SignatureNonceUsed": ClassClock,

	"Throttling": ClassThrottled, "Throttling.User": ClassThrottled, "Throttling.Api": ClassThrottled, "Throttling.API": ClassThrottled,
	"Throttling.ConcurrentLimitExceeded": ClassThrottled, "Rejected.Throttling": ClassThrottled, "RequestLimitExceeded": ClassThrottled,
	"FlowControl": ClassThrottled, "QPS Limit Exceeded": ClassThrottled,

	"ServiceUnavailable": ClassTransient, "InternalError": ClassTransient, "UnknownError": ClassTransient,
	"RequestTimeout": ClassTransient, "InternalError.Dispatch": ClassTransient, "SystemBusy": ClassTransient,
	"InternalFailure": ClassTransient, "ServiceUnavailableTemporary": ClassTransient,

	"IdempotentProcessing": ClassProcessing, "Idempotence.Processing": ClassProcessing, "LastTokenProcessing": ClassProcessing,
	"OperationFailed.IdempotentTokenProcessing": ClassProcessing,

	"DependencyViolation": ClassDependency, "DependencyViolation.SecurityGroup": ClassDependency,
}

// classify reads a code in the light of the action that it answers.
func (a *action) classify(code string, status int) Class {
	if slices.Contains(a.busy, code) {
		return ClassState
	}
	if c, ok := classes[code]; ok {
		return c
	}
	// An answer without a code is not the service's own.
	if code == "" && (status >= 500 || status == 429) {
		return ClassTransient
	}
	return ClassFinal
}

// advice says what to do about a code, by the code's beginning up to a dot.
var advice = map[string]string{ //nolint:gosec // G101 sees passwords in texts about passwords.
	"InvalidAccessKeyId":          "The access key id is not known to Alibaba Cloud or is disabled. Check access_key (or the environment variable or profile that it comes from), and that the endpoint belongs to the same cloud (the international and the Chinese sites have separate accounts).",
	"SignatureDoesNotMatch":       "The secret does not belong to the access key id. Check secret_key, and that it was copied without spaces or line ends.",
	"IncompleteSignature":         "The secret does not belong to the access key id. Check secret_key, and that it was copied without spaces or line ends.",
	"InvalidSecurityToken":        "The STS token has expired or belongs to another key. Get a new set of access key, secret and token, all three together.",
	"MissingSecurityToken":        "The access key is a temporary one (STS) and needs its security_token.",
	"Forbidden":                   "The identity lacks the RAM permission for this action. Ask the account's administrator to grant it; the documentation of the provider lists the actions each resource calls.",
	"NoPermission":                "The identity lacks the RAM permission for this action. Ask the account's administrator to grant it; the documentation of the provider lists the actions each resource calls.",
	"UnauthorizedOperation":       "The identity lacks the RAM permission for this action. Ask the account's administrator to grant it.",
	"AuthenticationFail":          "The identity may not assume the role: check the role's trust policy and the RAM permission sts:AssumeRole.",
	"EntityNotExist":              "The role of assume_role does not exist: check its ARN.",
	"InvalidTimeStamp":            "The clock of this machine is more than 15 minutes off. Set it right (NTP).",
	"IllegalTimestamp":            "The clock of this machine is more than 15 minutes off. Set it right (NTP).",
	"Throttling":                  "The account makes more calls than the API allows. Wait a minute and apply again, or lower -parallelism.",
	"Rejected":                    "The account makes more calls than the API allows. Wait a minute and apply again, or lower -parallelism.",
	"QuotaExceed":                 "A quota of the account is used up. Free some of it, or ask for more in the Quota Center of the console.",
	"QuotaExceeded":               "A quota of the account is used up. Free some of it, or ask for more in the Quota Center of the console.",
	"AuthorizationLimitExceed":    "The group has as many rules as a group may have (200 by default). Remove some or use a second group.",
	"SecurityGroupLimitExceeded":  "The instance is in as many groups as an instance may be in (5 by default), or the group is full.",
	"OperationDenied":             "The zone cannot serve this right now. Choose another instance_type or a vSwitch in another zone; cc_zones and cc_instance_types tell what is in stock.",
	"Zone":                        "The zone does not sell this. Choose a vSwitch in another zone, or another instance_type.",
	"InvalidResourceType":         "The zone does not sell this instance type or disk category. Choose another instance_type or system_disk category, or a vSwitch in another zone.",
	"InvalidInstanceType":         "The zone does not sell this instance type. Choose another instance_type, or a vSwitch in another zone.",
	"ImageNotSupportInstanceType": "The image does not boot on this instance type, most often because the type needs UEFI and the image is for BIOS. Choose another image_id or instance_type.",
	"InvalidPayMethod":            "The account has no valid means of payment. Add one in the console.",
	"Account":                     "The account is in arrears. Settle it in the console.",
	"InvalidAccountStatus":        "The account's balance does not suffice. Add to it in the console.",
	"RealNameAuthenticationError": "The account must complete real-name registration first, in the console.",
	"InvalidKeyPairName":          "There is no key pair of that name in the region. Create or import it first, or correct key_name.",
	"InvalidVSwitchId":            "The vSwitch does not exist in this region. Check vswitch_id and the provider's region.",
	"InvalidVpcId":                "The VPC does not exist in this region. Check vpc_id and the provider's region.",
	"InvalidPassword":             "The password must have 8 to 30 characters from three of: upper case, lower case, digits, special characters.",
}

// adviceFor says what to do about a code that an action got.
func (a *action) adviceFor(code string) string {
	if remedy := a.remedies[code]; remedy != "" {
		return remedy
	}
	if code == "InvalidOperation.DeletionProtection" {
		return "The instance is protected against deletion. Turn the protection off first (deletion_protection = false, then apply), then destroy."
	}
	head, _, _ := strings.Cut(code, ".")
	return advice[head]
}

// Backoff is how long a client waits between attempts and polls. The zero value
// means the default: 1 s, doubling up to 30 s, each wait drawn at random from
// its upper half.
type Backoff struct{ Min, Max time.Duration }

func (b Backoff) orDefault() Backoff {
	if b.Min <= 0 {
		b.Min = time.Second
	}
	if b.Max <= 0 {
		b.Max = 30 * time.Second
	}
	return b
}

// after returns the wait after the n-th failure, from 1.
func (b Backoff) after(n int) time.Duration {
	d := b.Min
	for ; n > 1 && d < b.Max; n-- {
		d *= 2
	}
	d = min(d, b.Max)
	return d/2 + rand.N(d/2+1) //nolint:gosec // Spreads load; nobody gains by guessing it.
}

// sleep waits, or ends with the context.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// gates holds back the callers of an action that the service has throttled:
// one caller's throttling is every caller's.
type gates struct {
	mu    sync.Mutex
	until map[string]time.Time
}

func (g *gates) hold(name string, d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.until == nil {
		g.until = map[string]time.Time{}
	}
	if t := time.Now().Add(d); t.After(g.until[name]) {
		g.until[name] = t
	}
}

// pass waits until the action may be called again. Those who waited together
// are spread over as long again as they waited.
func (g *gates) pass(ctx context.Context, name string) error {
	g.mu.Lock()
	d := time.Until(g.until[name])
	g.mu.Unlock()
	if d <= 0 {
		return nil
	}
	return sleep(ctx, d+rand.N(d)) //nolint:gosec // As above.
}

// Wait polls until check is done, at the client's pace from its shortest wait
// to five times that. What names the state that is waited for ("instance i-1 to
// run"); check says which state it saw. An error of check ends the wait.
//
// The wait lasts as long as ctx; a [*WaitError] says what was seen last.
func (c *Client) Wait(ctx context.Context, what string, check func(context.Context) (done bool, seen string, err error)) error {
	started := time.Now()
	last := ""
	pace := c.backoff.Min
	for {
		done, seen, err := check(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return &WaitError{What: what, Seen: last, After: time.Since(started), Err: ctx.Err()}
			}
			return err
		}
		if done {
			return nil
		}
		last = seen
		if err := sleep(ctx, pace); err != nil {
			return &WaitError{What: what, Seen: last, After: time.Since(started), Err: err}
		}
		pace = min(pace*3/2, 5*c.backoff.Min)
	}
}

// confirmGone asks once more after a pause before it believes that a resource
// is gone: lists lag behind.
func (c *Client) confirmGone(ctx context.Context, look func(context.Context) (found bool, err error)) (bool, error) {
	for range 2 {
		found, err := look(ctx)
		if err != nil || found {
			return false, err
		}
		if err := sleep(ctx, c.backoff.Min); err != nil {
			return false, err
		}
	}
	found, err := look(ctx)
	return !found && err == nil, err
}
