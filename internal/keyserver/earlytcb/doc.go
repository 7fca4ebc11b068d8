// Package earlytcb foretells which platforms a TCB recovery is going to lock out.
//
// After a vulnerability Intel publishes stricter TCB levels twice: at once in what its service calls the early set, and
// about six weeks later in the standard set, which is what everybody is judged by. On that day platforms that nobody has
// patched turn from accepted to refused. A [Watch] remembers the platforms whose enclaves were accepted, and judges them by
// the same rules under the early set as well. What is refused there is going to be refused, with the reasons to be seen to.
//
// It only watches: it has collateral of its own, works in the background, and a failure of it is shown and changes nothing.
// What it remembers is bounded: a quote for each kind of platform, that is FMSPC, patch level and rule.
package earlytcb
