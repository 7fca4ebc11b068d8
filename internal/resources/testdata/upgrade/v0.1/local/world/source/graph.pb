
!
inputPlaceholder*
dtype0
"
outputIdentityinput*
T0