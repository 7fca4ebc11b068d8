package ecssim

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// Server simulates the cloud for one account. It is safe for concurrent use.
type Server struct {
	opts Options

	mu       sync.Mutex
	state    *state
	store    store
	nonces   map[string]time.Time
	faults   []*Fault
	requests []Request
	running  map[string]func() // by invocation: how to stop it
	commands sync.WaitGroup
	closed   bool
}

// Request is a call that was received, as the log keeps it: with no secret.
type Request struct {
	Action   string
	Method   string
	TLS      bool
	Query    []string // names of the arguments in the query
	Form     []string // names of the arguments in the body
	Params   map[string]string
	Status   int
	Code     string
	Received time.Time
}

// New returns a simulator. With a directory it goes on from the state there.
func New(opts Options) (*Server, error) {
	if opts.Keys == nil {
		opts.Keys = map[string]string{DefaultAccessKey: DefaultSecretKey}
	}
	if opts.Account == "" {
		opts.Account = "1000000000000001"
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	opts.Quotas = opts.Quotas.orDefault()
	s := &Server{opts: opts, nonces: map[string]time.Time{}, running: map[string]func(){}, store: memoryStore{}}
	if opts.Dir != "" {
		s.store = directoryStore{dir: opts.Dir}
	}
	st, err := s.store.load()
	if err != nil {
		return nil, fmt.Errorf("open simulator: %w", err)
	}
	s.state = st
	return s, nil
}

// Close stops the commands that still run and waits for them.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	for _, stop := range s.running {
		stop()
	}
	s.mu.Unlock()
	s.commands.Wait()
}

// Requests returns the calls received so far, oldest first.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// ForgetRequests empties the log.
func (s *Server) ForgetRequests() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = nil
}

// maxRequests is how many calls the log keeps.
const maxRequests = 20000

// apiError is a refusal, as the wire says it.
type apiError struct {
	status        int
	code, message string
}

func (e *apiError) Error() string { return e.code }

func refuse(status int, code, format string, args ...any) *apiError {
	return &apiError{status, code, fmt.Sprintf(format, args...)}
}

// call is one request while it is being answered.
type call struct {
	params
	action  string
	now     time.Time
	region  string
	session *tempKey // of the caller, nil for a permanent key
}

// reply is the body of an answer; the request's id is added to it.
type reply map[string]any

type handler struct {
	version string
	serve   func(s *Server, c *call) (reply, error)
}

// The versions of the products.
const (
	ecsVersion      = "2014-05-26"
	vpcVersion      = "2016-04-28"
	stsVersion      = "2015-04-01"
	billingVersion  = "2017-12-14"
	locationVersion = "2015-06-12"
	kmsVersion      = "2016-01-20"
)

// handlers is the table of what is simulated.
var handlers = func() map[string][]handler {
	all := map[string][]handler{}
	for version, table := range map[string][]map[string]func(*Server, *call) (reply, error){
		ecsVersion:      {groupActions, ruleActions, instanceActions, partActions, lifecycleActions, catalogActions, assistantActions, tagActions},
		vpcVersion:      {vpcActions, tagActions},
		stsVersion:      {stsActions},
		billingVersion:  {billingActions},
		locationVersion: {locationActions},
		kmsVersion:      {kmsActions},
	} {
		for _, t := range table {
			for action, serve := range t {
				all[action] = append(all[action], handler{version, serve})
			}
		}
	}
	return all
}()

// ServeHTTP answers a call.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	entry := Request{Method: r.Method, TLS: isTLS(r), Received: s.opts.Now()}
	p, err := readParams(w, r, &entry)
	entry.Action = p["Action"]
	entry.Params = p.redacted()
	fault := s.nextFault(entry.Action)
	var body reply
	if err == nil {
		err = fault.before(r.Context())
	}
	if err == nil {
		body, err = s.answer(r, p)
	}
	id := requestID()
	if err != nil {
		var refusal *apiError
		if !errors.As(err, &refusal) {
			refusal = refuse(http.StatusInternalServerError, "InternalError", "The request processing has failed due to some unknown error, exception or failure: %v", err)
		}
		entry.Status, entry.Code = refusal.status, refusal.code
		body = reply{"Code": refusal.code, "Message": refusal.message, "HostId": r.Host, "Recommend": "https://api.alibabacloud.com/troubleshoot?q=" + url.QueryEscape(refusal.code)}
	} else {
		entry.Status = http.StatusOK
	}
	s.record(entry)
	if fault.after(w, r) {
		return
	}
	body["RequestId"] = id
	w.Header().Set("Content-Type", "application/json;charset=utf-8")
	w.Header().Set("X-Acs-Request-Id", id)
	w.WriteHeader(entry.Status)
	_ = json.NewEncoder(w).Encode(body)
}

func (s *Server) record(entry Request) {
	if s.opts.OnRequest != nil {
		s.opts.OnRequest(entry)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.requests) >= maxRequests {
		s.requests = slices.Delete(s.requests, 0, maxRequests/2)
	}
	s.requests = append(s.requests, entry)
}

// answer checks who calls, and does what is asked for.
func (s *Server) answer(r *http.Request, p params) (reply, error) {
	found, ok := handlers[p["Action"]]
	if p["Action"] == "" || !ok {
		return nil, refuse(http.StatusNotFound, "InvalidAction.NotFound", "Specified api is not found, please check your url and method.")
	}
	i := slices.IndexFunc(found, func(h handler) bool { return h.version == p["Version"] })
	if i < 0 {
		return nil, refuse(http.StatusBadRequest, "InvalidVersion", "Specified parameter Version is not valid.")
	}
	if f := p["Format"]; !strings.EqualFold(f, "JSON") {
		return nil, refuse(http.StatusBadRequest, "InvalidParameter.Format", "The simulator answers in JSON only; Format is %q.", f)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, refuse(http.StatusServiceUnavailable, "ServiceUnavailable", "The simulator is closing.")
	}
	c := &call{params: p, action: p["Action"], now: s.opts.Now(), region: p["RegionId"]}
	if err := s.authenticate(r.Method, c); err != nil {
		return nil, err
	}
	if c.region != "" && regionZones[c.region] == nil {
		return nil, refuse(http.StatusNotFound, "InvalidRegionId.NotFound", "The specified RegionId does not exist.")
	}
	return s.once(c, found[i].serve)
}

// Do makes a call without the wire, as the account's owner: to set a scene, or
// to change something behind a client's back. No fault meets it and no log
// keeps it.
func (s *Server) Do(region, action string, arguments map[string]string) (map[string]any, error) {
	p := maps.Clone(params(arguments))
	if p == nil {
		p = params{}
	}
	found := handlers[action]
	if len(found) == 0 {
		return nil, fmt.Errorf("call %s: not simulated", action)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	answer, err := s.once(&call{params: p, action: action, now: s.opts.Now(), region: region}, found[0].serve)
	var refusal *apiError
	if errors.As(err, &refusal) {
		return nil, fmt.Errorf("call %s: %s: %s", action, refusal.code, refusal.message)
	}
	if err != nil {
		return nil, fmt.Errorf("call %s: %w", action, err)
	}
	// As over the wire: what the caller changes in the answer changes nothing.
	data, err := json.Marshal(answer)
	if err != nil {
		return nil, fmt.Errorf("call %s: %w", action, err)
	}
	var out map[string]any
	return out, json.Unmarshal(data, &out)
}

// once answers a ClientToken that was seen before as it was answered then, and
// stores what the call changed.
func (s *Server) once(c *call, serve func(*Server, *call) (reply, error)) (reply, error) {
	key := ""
	if token := c.params["ClientToken"]; token != "" {
		if len(token) > 64 {
			return nil, refuse(http.StatusBadRequest, "InvalidParameter", "ClientToken is longer than 64 characters.")
		}
		key = c.action + " " + token
		if seen, ok := s.state.Tokens[key]; ok {
			if seen.Arguments != c.arguments() {
				return nil, refuse(http.StatusForbidden, "IdempotentParameterMismatch", "The request uses the same client token as a previous, but non-identical request.")
			}
			return maps.Clone(reply(seen.Answer)), nil
		}
	}
	answer, err := serve(s, c)
	if err != nil {
		return nil, err
	}
	if key != "" {
		s.state.Tokens[key] = &tokenUse{Arguments: c.arguments(), Answer: maps.Clone(answer)}
	}
	if strings.HasPrefix(c.action, "Describe") || strings.HasPrefix(c.action, "List") || c.action == "GetCallerIdentity" {
		return answer, nil
	}
	return answer, s.store.save(s.state)
}

func requestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	h := strings.ToUpper(hex.EncodeToString(b[:]))
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// Fault is something that goes wrong with calls of an action. What is left
// zero does not happen.
type Fault struct {
	Action string // empty for every action
	Skip   int    // this many calls go well first
	Times  int    // how many calls it hits; 0 means one, negative all

	Delay     time.Duration // before anything happens
	Status    int           // refused with Status, Code and Message
	Code      string
	Message   string
	CutBefore bool // the connection ends before anything happens
	CutAfter  bool // the connection ends after it happened, without an answer
	Stall     bool // the answer stops in its middle, until the client gives up
	// Raw replaces the answer, with RawStatus (502 if zero), after it happened.
	Raw       string
	RawStatus int
}

// Throttled is a fault that throttles an action.
func Throttled(action string, times int) Fault {
	return Fault{Action: action, Times: times, Status: http.StatusBadRequest, Code: "Throttling.User", Message: "Request was denied due to user flow control."}
}

// Refused is a fault that answers with an error.
func Refused(action string, status int, code string, times int) Fault {
	return Fault{Action: action, Times: times, Status: status, Code: code, Message: "The request was refused: " + code + "."}
}

// Cut is a fault that does what was asked for and loses the answer.
func Cut(action string, times int) Fault { return Fault{Action: action, Times: times, CutAfter: true} }

// Inject adds faults. Each call meets the first that fits.
func (s *Server) Inject(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range faults {
		if f.Times == 0 {
			f.Times = 1
		}
		s.faults = append(s.faults, &f)
	}
}

// ClearFaults removes all faults.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// nextFault returns what this call meets, nil for nothing.
func (s *Server) nextFault(action string) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.faults {
		if (f.Action != "" && f.Action != action) || f.Times == 0 {
			continue
		}
		if f.Skip > 0 {
			f.Skip--
			return nil
		}
		if f.Times > 0 {
			f.Times--
		}
		hit := *f
		return &hit
	}
	return nil
}

// before happens before the call does anything.
func (f *Fault) before(ctx context.Context) error {
	if f == nil {
		return nil
	}
	if f.Delay > 0 {
		select {
		case <-time.After(f.Delay):
		case <-ctx.Done():
		}
	}
	if f.CutBefore {
		panic(http.ErrAbortHandler) // net/http's way to end a connection without an answer
	}
	if f.Status != 0 {
		return refuse(f.Status, f.Code, "%s", f.Message)
	}
	return nil
}

// after happens once the call has done what it was asked for. It tells whether
// it answered.
func (f *Fault) after(w http.ResponseWriter, r *http.Request) bool {
	if f == nil {
		return false
	}
	if f.CutAfter {
		panic(http.ErrAbortHandler)
	}
	if f.Stall {
		w.Header().Set("Content-Type", "application/json;charset=utf-8")
		_, _ = w.Write([]byte(`{"RequestId":"`))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	}
	if f.Raw == "" {
		return false
	}
	if f.RawStatus == 0 {
		f.RawStatus = http.StatusBadGateway
	}
	w.WriteHeader(f.RawStatus)
	_, _ = w.Write([]byte(f.Raw))
	return true
}
