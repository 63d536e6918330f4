// What upstream's CEL environment of Kubernetes 1.34 makes of expressions: value or error, type, estimated and real cost.
//
// Reads lines of JSON, each an expression or an object with `expr`, such as crates/cel/tests/expressions.jsonl, and writes one
// object for each. Run by hand to add to that file: the tests compare with what stands there.
//
//	go run ./expressions < ../../../crates/cel/tests/expressions.jsonl
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/checker"
	"github.com/google/cel-go/common/types"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/apiserver/pkg/cel/library"
)

type est struct{}

func (est) EstimateSize(e checker.AstNode) *checker.SizeEstimate { return nil }
func (est) EstimateCallCost(f, o string, t *checker.AstNode, a []checker.AstNode) *checker.CallEstimate {
	return nil
}

func main() {
	set := environment.MustBaseEnvSet(version.MajorMinor(1, 34), true)
	set, err := set.Extend(environment.VersionedOptions{
		IntroducedVersion: version.MajorMinor(1, 0),
		EnvOptions: []cel.EnvOption{
			cel.Variable("d", cel.DynType), cel.Variable("i", cel.IntType), cel.Variable("s", cel.StringType),
			cel.Variable("l", cel.ListType(cel.IntType)), cel.Variable("m", cel.MapType(cel.StringType, cel.StringType)),
			cel.Variable("ls", cel.ListType(cel.StringType)), cel.Variable("dbl", cel.DoubleType),
			cel.Variable("ts", cel.TimestampType), cel.Variable("dur", cel.DurationType),
		},
	})
	if err != nil {
		panic(err)
	}
	env := set.StoredExpressionsEnv()
	vars := map[string]any{}
	if err := json.Unmarshal([]byte(`{"d":{"a":{"b":[1,2,3]},"n":null,"s":"text","x-y":1,"f":1.5},"i":5,"s":"hello","l":[1,2,3],"m":{"a":"x","b":"y"},"ls":["b","a"],"dbl":2.5}`), &vars); err != nil {
		panic(err)
	}
	var conv func(v any) any
	conv = func(v any) any {
		switch x := v.(type) {
		case float64:
			if x == float64(int64(x)) {
				return int64(x)
			}
			return x
		case []any:
			for i := range x {
				x[i] = conv(x[i])
			}
			return x
		case map[string]any:
			for k := range x {
				x[k] = conv(x[k])
			}
			return x
		}
		return v
	}
	for k := range vars {
		vars[k] = conv(vars[k])
	}
	sc := bufio.NewScanner(os.Stdin)
	sc.Buffer(make([]byte, 1<<20), 1<<20)
	for sc.Scan() {
		line := strings.TrimSpace(sc.Text())
		if line == "" {
			continue
		}
		var text string
		var known struct {
			Expr string `json:"expr"`
		}
		switch {
		case json.Unmarshal([]byte(line), &text) == nil:
		case json.Unmarshal([]byte(line), &known) == nil:
			text = known.Expr
		default:
			text = line
		}
		out := map[string]any{"expr": text}
		func() {
			defer func() {
				if r := recover(); r != nil {
					out["panic"] = fmt.Sprint(r)
				}
			}()
			ast, iss := env.Compile(text)
			if iss != nil && iss.Err() != nil {
				out["issues"] = iss.Err().Error()
				return
			}
			out["type"] = ast.OutputType().String()
			ce, err := env.EstimateCost(ast, &library.CostEstimator{SizeEstimator: est{}})
			if err == nil {
				out["min"] = ce.Min
				out["max"] = ce.Max
			}
			prog, err := env.Program(ast, cel.CostTracking(&library.CostEstimator{}))
			if err != nil {
				out["program"] = err.Error()
				return
			}
			val, det, err := prog.Eval(vars)
			if det != nil && det.ActualCost() != nil {
				out["cost"] = *det.ActualCost()
			}
			if err != nil {
				out["error"] = err.Error()
				return
			}
			str, err := cel.ValueAsAlphaProto(val)
			_ = str
			if err != nil {
				out["value"] = fmt.Sprintf("%v", val)
			} else {
				out["value"] = types.Format(val)
			}
		}()
		b, _ := json.Marshal(out)
		fmt.Println(string(b))
	}
}
