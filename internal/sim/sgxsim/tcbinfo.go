package sgxsim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// TCBSet is one set of levels, of a TCB recovery event counted by EvaluationNumber.
type TCBSet struct {
	EvaluationNumber uint32     `json:"evaluation_number"`
	Levels           []TCBLevel `json:"tcb_levels"`
	QELevels         []QELevel  `json:"qe_levels"`
}

// TCBLevel is one level of a TCB info.
type TCBLevel struct {
	Components [16]int64 `json:"components"`
	PCESVN     int64     `json:"pce_svn"`
	Date       time.Time `json:"date"`
	Status     string    `json:"status"`
	Advisories []string  `json:"advisories,omitempty"`
}

// QELevel is one level of a QE identity.
type QELevel struct {
	ISVSVN     int64     `json:"isv_svn"`
	Date       time.Time `json:"date"`
	Status     string    `json:"status"`
	Advisories []string  `json:"advisories,omitempty"`
}

func defaultTCBSets() (standard, early TCBSet) {
	march24 := time.Date(2024, 3, 13, 0, 0, 0, 0, time.UTC)
	august25 := time.Date(2025, 8, 13, 0, 0, 0, 0, time.UTC)
	older := []TCBLevel{
		{[16]int64{11, 11, 3, 3, 255, 255, 1}, 13, time.Date(2023, 8, 9, 0, 0, 0, 0, time.UTC), "OutOfDate", []string{"INTEL-SA-00615", "INTEL-SA-00960"}},
		{[16]int64{4, 4, 3, 3, 255, 255}, 10, time.Date(2020, 11, 11, 0, 0, 0, 0, time.UTC), "OutOfDateConfigurationNeeded", []string{"INTEL-SA-00477", "INTEL-SA-00615", "INTEL-SA-00960"}},
	}
	qe := []QELevel{
		{8, march24, "UpToDate", nil},
		{6, time.Date(2022, 11, 9, 0, 0, 0, 0, time.UTC), "OutOfDate", []string{"INTEL-SA-00615"}},
	}
	standard = TCBSet{17, append([]TCBLevel{
		{[16]int64{12, 12, 3, 3, 255, 255, 1}, 13, march24, "SWHardeningNeeded", []string{"INTEL-SA-00615"}},
		{[16]int64{12, 12, 3, 3, 255, 255, 0}, 13, march24, "ConfigurationAndSWHardeningNeeded", []string{"INTEL-SA-00615"}},
	}, older...), qe}
	early = TCBSet{18, append([]TCBLevel{
		{[16]int64{14, 14, 3, 3, 255, 255, 1}, 13, august25, "SWHardeningNeeded", []string{"INTEL-SA-00615"}},
		{[16]int64{12, 12, 3, 3, 255, 255, 1}, 13, march24, "OutOfDate", []string{"INTEL-SA-00615", "INTEL-SA-01313"}},
	}, older...), qe}
	return standard, early
}

// TCBInfo is a TCB info before it is signed.
type TCBInfo struct {
	Version               int // 3, or 2 as API v3 of Intel's service served it
	ID                    string
	IssueDate, NextUpdate time.Time
	FMSPC, PCEID          HexBytes
	TCBType               int
	EvaluationNumber      uint32
	Levels                []TCBLevel
}

// TCBInfo returns the platform's TCB info for a time.
func (p *Platform) TCBInfo(at time.Time, set TCBSet) *TCBInfo {
	issued := issueDate(at)
	return &TCBInfo{
		Version: 3, ID: "SGX", IssueDate: issued, NextUpdate: issued.Add(documentLife),
		FMSPC: p.Machine.FMSPC, PCEID: p.Machine.PCEID,
		EvaluationNumber: set.EvaluationNumber,
		Levels:           append([]TCBLevel(nil), set.Levels...),
	}
}

// component is one of a level's 16 in version 3, with the explanations that Intel adds for the first few.
type component struct {
	SVN      int64  `json:"svn"`
	Category string `json:"category,omitempty"`
	Type     string `json:"type,omitempty"`
}

var componentNames = [16]component{
	{Category: "BIOS", Type: "Early Microcode Update"},
	{Category: "OS/VMM", Type: "SGX Late Microcode Update"},
	{Category: "OS/VMM", Type: "TXT SINIT"},
	{Category: "BIOS"},
}

// Object encodes the TCB info as Intel does: compact, members in this order.
func (t *TCBInfo) Object() ([]byte, error) {
	type level struct {
		TCB        json.RawMessage `json:"tcb"`
		Date       string          `json:"tcbDate"`
		Status     string          `json:"tcbStatus"`
		Advisories []string        `json:"advisoryIDs,omitempty"`
	}
	var levels []level
	for _, l := range t.Levels {
		tcb, err := l.object(t.Version)
		if err != nil {
			return nil, fmt.Errorf("encode TCB level: %w", err)
		}
		l := level{tcb, date(l.Date), l.Status, l.Advisories}
		if t.Version < 3 {
			l.Advisories = nil // no document of version 2 that Intel served listed any
		}
		levels = append(levels, l)
	}
	id := t.ID
	if t.Version < 3 {
		id = ""
	}
	return encode(struct {
		ID         string  `json:"id,omitempty"`
		Version    int     `json:"version"`
		IssueDate  string  `json:"issueDate"`
		NextUpdate string  `json:"nextUpdate"`
		FMSPC      string  `json:"fmspc"`
		PCEID      string  `json:"pceId"`
		TCBType    int     `json:"tcbType"`
		Evaluation uint32  `json:"tcbEvaluationDataNumber"`
		Levels     []level `json:"tcbLevels"`
	}{id, t.Version, date(t.IssueDate), date(t.NextUpdate), t.FMSPC.String(), t.PCEID.String(), t.TCBType, t.EvaluationNumber, levels})
}

func (l *TCBLevel) object(version int) ([]byte, error) {
	if version < 3 {
		var b bytes.Buffer
		for i, svn := range l.Components {
			fmt.Fprintf(&b, `"sgxtcbcomp%02dsvn":%d,`, i+1, svn)
		}
		return fmt.Appendf(nil, `{%s"pcesvn":%d}`, b.Bytes(), l.PCESVN), nil
	}
	components := componentNames
	for i, svn := range l.Components {
		components[i].SVN = svn
	}
	return encode(struct {
		Components [16]component `json:"sgxtcbcomponents"`
		PCESVN     int64         `json:"pcesvn"`
	}{components, l.PCESVN})
}

// Sign encodes and signs the TCB info as Intel's service answers it.
func (t *TCBInfo) Sign(signer *Authority) ([]byte, error) {
	object, err := t.Object()
	if err != nil {
		return nil, fmt.Errorf("encode TCB info: %w", err)
	}
	return signer.SignJSON("tcbInfo", object)
}

// QEIdentity is a QE identity before it is signed.
type QEIdentity struct {
	ID                         string
	Version                    int
	IssueDate, NextUpdate      time.Time
	EvaluationNumber           uint32
	MiscSelect, MiscSelectMask HexBytes // 4 bytes
	Attributes, AttributesMask HexBytes // 16 bytes
	MRSIGNER                   HexBytes // 32 bytes
	ISVProdID                  int64
	Levels                     []QELevel
}

// QEIdentity returns the quoting enclave's identity for a time.
func (p *Platform) QEIdentity(at time.Time, set TCBSet) *QEIdentity {
	issued := issueDate(at)
	return &QEIdentity{
		ID: "QE", Version: 2, IssueDate: issued, NextUpdate: issued.Add(documentLife),
		EvaluationNumber: set.EvaluationNumber,
		MiscSelect:       make(HexBytes, 4), MiscSelectMask: HexBytes{0xff, 0xff, 0xff, 0xff},
		// INIT and PROVISIONKEY; the mask covers every flag but MODE64BIT, and no XFRM.
		Attributes:     append(HexBytes{0x11}, make([]byte, 15)...),
		AttributesMask: append(HexBytes{0xfb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, make([]byte, 8)...),
		MRSIGNER:       p.QE.MRSIGNER, ISVProdID: int64(p.QE.ISVProdID),
		Levels: append([]QELevel(nil), set.QELevels...),
	}
}

// Object encodes the identity as Intel does.
func (q *QEIdentity) Object() ([]byte, error) {
	type tcb struct {
		ISVSVN int64 `json:"isvsvn"`
	}
	type level struct {
		TCB        tcb      `json:"tcb"`
		Date       string   `json:"tcbDate"`
		Status     string   `json:"tcbStatus"`
		Advisories []string `json:"advisoryIDs,omitempty"`
	}
	var levels []level
	for _, l := range q.Levels {
		levels = append(levels, level{tcb{l.ISVSVN}, date(l.Date), l.Status, l.Advisories})
	}
	return encode(struct {
		ID             string  `json:"id"`
		Version        int     `json:"version"`
		IssueDate      string  `json:"issueDate"`
		NextUpdate     string  `json:"nextUpdate"`
		Evaluation     uint32  `json:"tcbEvaluationDataNumber"`
		MiscSelect     string  `json:"miscselect"`
		MiscSelectMask string  `json:"miscselectMask"`
		Attributes     string  `json:"attributes"`
		AttributesMask string  `json:"attributesMask"`
		MRSIGNER       string  `json:"mrsigner"`
		ISVProdID      int64   `json:"isvprodid"`
		Levels         []level `json:"tcbLevels"`
	}{
		q.ID, q.Version, date(q.IssueDate), date(q.NextUpdate), q.EvaluationNumber,
		q.MiscSelect.String(), q.MiscSelectMask.String(), q.Attributes.String(), q.AttributesMask.String(),
		q.MRSIGNER.String(), q.ISVProdID, levels,
	})
}

// Sign encodes and signs the identity as Intel's service answers it.
func (q *QEIdentity) Sign(signer *Authority) ([]byte, error) {
	object, err := q.Object()
	if err != nil {
		return nil, fmt.Errorf("encode QE identity: %w", err)
	}
	return signer.SignJSON("enclaveIdentity", object)
}

func date(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// encode is json.Marshal without escapes: Intel's documents have none.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
