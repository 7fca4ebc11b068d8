º
"serveG
!
inputPlaceholder*
dtype0
"
outputIdentityinput*
T0*f
serving_defaultS

input
input:0
predict
output:0tensorflow/serving/predict