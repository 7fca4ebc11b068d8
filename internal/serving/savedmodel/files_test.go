package savedmodel

import (
	"strings"
	"testing"
)

func TestCheckFiles(t *testing.T) {
	const pb, index, one = FileName, VariablesIndex, "variables/variables.data-00000-of-00001"
	variables := &GraphInfo{Variables: []string{"w", "b"}}
	assets := &GraphInfo{MetaGraphs: []MetaGraph{{Assets: []string{"words.txt"}}}}
	for _, tt := range []struct {
		name  string
		info  *GraphInfo
		files []string
		want  string // empty: nothing
	}{
		{"frozen", &GraphInfo{}, []string{pb}, ""},
		{"complete", variables, []string{pb, index, one}, ""},
		{"two parts", variables, []string{pb, index, "variables/variables.data-00000-of-00002", "variables/variables.data-00001-of-00002"}, ""},
		{"no variables", variables, []string{pb}, `node "w": it is one of 2 variables, and variables/variables.index is missing, so they would be empty; copy the directory variables too`},
		{"no values", variables, []string{pb, index}, "the values of the variables are missing (variables/variables.data-*), there is only their index"},
		{"no index", variables, []string{pb, one}, "variables/variables.index is missing, without which"},
		{"one of two", variables, []string{pb, index, "variables/variables.data-00001-of-00002"}, "1 of 2 files with the values of the variables are missing"},
		{"two exports", variables, []string{pb, index, one, "variables/variables.data-00001-of-00002"}, `"variables/variables.data-00001-of-00002" is not a part of the variables like the others`},
		{"no such part", variables, []string{pb, index, "variables/variables.data-00002-of-00002"}, "is not a part of the variables"},
		{"odd name", variables, []string{pb, index, "variables/variables.data-0-of-1"}, "is not a part of the variables"},
		{"variables that the graph does not show", &GraphInfo{}, []string{pb, index}, "the values of the variables are missing"},
		{"asset", assets, []string{pb, "assets/words.txt"}, ""},
		{"no asset", assets, []string{pb, "words.txt"}, "the graph reads the file assets/words.txt, which is missing; copy the directory assets too"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			found := CheckFiles(tt.info, tt.files)
			if tt.want == "" && len(found) != 0 || tt.want != "" && (len(found) != 1 || !strings.Contains(found[0].String(), tt.want)) {
				t.Errorf("got %v, want %s", found, tt.want)
			}
		})
	}
}
