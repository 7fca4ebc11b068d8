package savedmodel

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// What lies beside [FileName] in a version directory
// (tensorflow/cc/saved_model/constants.h).
const (
	VariablesIndex = "variables/variables.index"
	variablesData  = "variables/variables.data-"
	assetsDir      = "assets/"
)

// CheckFiles says what the files of a SavedModel's directory lack, given as paths
// below it with slashes. The content of the files is not looked at.
func CheckFiles(info *GraphInfo, files []string) []Problem {
	var found []Problem
	has := func(name string) bool { return slices.Contains(files, name) }
	shards := map[int]bool{}
	total := 0
	for _, name := range files {
		rest, ok := strings.CutPrefix(name, variablesData)
		if !ok {
			continue
		}
		index, of, ok := shard(rest)
		if !ok || total != 0 && of != total {
			return []Problem{{Reason: fmt.Sprintf("%q is not a part of the variables like the others", name), Remedy: "copy the directory again, and only one export of it"}}
		}
		shards[index], total = true, of
	}
	switch {
	case has(VariablesIndex) && len(shards) == 0:
		found = append(found, Problem{Reason: "the values of the variables are missing (" + variablesData + "*), there is only their index", Remedy: "copy the directory again"})
	case has(VariablesIndex) && len(shards) != total:
		found = append(found, Problem{Reason: fmt.Sprintf("%d of %d files with the values of the variables are missing", total-len(shards), total), Remedy: "copy the directory again"})
	case !has(VariablesIndex) && len(shards) > 0:
		found = append(found, Problem{Reason: VariablesIndex + " is missing, without which the values of the variables are not found", Remedy: "copy the directory again"})
	case !has(VariablesIndex) && len(info.Variables) > 0:
		found = append(found, Problem{
			Node:   info.Variables[0],
			Reason: fmt.Sprintf("it is one of %d variables, and %s is missing, so they would be empty", len(info.Variables), VariablesIndex),
			Remedy: "copy the directory variables too, which belongs to the model",
		})
	}
	for _, m := range info.MetaGraphs {
		for _, asset := range m.Assets {
			if !has(assetsDir + asset) {
				found = append(found, Problem{Reason: fmt.Sprintf("the graph reads the file %s%s, which is missing", assetsDir, asset), Remedy: "copy the directory assets too, which belongs to the model"})
			}
		}
	}
	return found
}

// shard reads "00000-of-00002": which part of how many.
func shard(s string) (index, of int, ok bool) {
	first, second, ok := strings.Cut(s, "-of-")
	index, err1 := strconv.Atoi(first)
	of, err2 := strconv.Atoi(second)
	return index, of, ok && err1 == nil && err2 == nil && len(first) == 5 && len(second) == 5 && index >= 0 && index < of
}
