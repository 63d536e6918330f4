// What upstream's admission of Kubernetes 1.34 makes of conditions of policies over one request: value or error, and what it cost,
// that of the policy's variables included.
//
// Reads lines of JSON with `expr`, such as crates/apiserver/tests/expressions.jsonl, and writes one object for each. Run by hand to
// add to that file: the tests compare with what stands there, and have the same variables, object and request.
//
//	go run ./policies < ../../../crates/apiserver/tests/expressions.jsonl
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/google/cel-go/cel"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apiserver/pkg/admission"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/cel/environment"
)

const budget = 10000000

var variables = [][2]string{
	{"n", "object.spec.replicas"},
	{"s", "object.metadata.name + 'x'"},
	{"t", "variables.n * 2"},
	{"l", "object.spec.containers.map(c, c.name)"},
	{"str", "request.name + '-' + request.namespace"},
	{"bad", "object.none.x"},
	{"opt", "object.?spec.?none"},
	{"num", "1 + 2"},
	{"nul", "null"},
	{"m", "{'a': 1}"},
	{"a__b", "1"},
	{"broken", "nothing + 1"},
}

func object() *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"metadata": map[string]any{"name": "p", "namespace": "d", "labels": map[string]any{"a": "b"}},
		"spec": map[string]any{
			"replicas": int64(3), "containers": []any{map[string]any{"name": "c", "image": "i"}}, "namespace": "x",
		},
	}}
}

type expression struct {
	name, text string
	yields     *cel.Type
}

func (e *expression) GetName() string          { return e.name }
func (e *expression) GetExpression() string    { return e.text }
func (e *expression) ReturnTypes() []*cel.Type { return []*cel.Type{e.yields} }

type allowing struct{}

func (allowing) Authorize(context.Context, authorizer.Attributes) (authorizer.Decision, string, error) {
	return authorizer.DecisionAllow, "", nil
}

func observe(base *environment.EnvSet, text string) map[string]any {
	seen := map[string]any{"expr": text}
	compiler, err := plugincel.NewCompositedCompiler(base)
	if err != nil {
		panic(err)
	}
	options := plugincel.OptionalVariableDeclarations{HasAuthorizer: true, StrictCost: true}
	for _, variable := range variables {
		compiler.CompileAndStoreVariable(&expression{variable[0], variable[1], cel.AnyType}, options, environment.StoredExpressions)
	}
	condition := []plugincel.ExpressionAccessor{&expression{"", text, cel.BoolType}}
	evaluator := compiler.CompileCondition(condition, options, environment.StoredExpressions)
	kind := schema.GroupVersionKind{Version: "v1", Kind: "Pod"}
	resource := schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	who := &user.DefaultInfo{Name: "jane", Groups: []string{"a"}, Extra: map[string][]string{"k": {"v"}}}
	attributes := admission.NewAttributesRecord(object(), nil, kind, "d", "p", resource, "", admission.Create, nil, false, who)
	versioned := &admission.VersionedAttributes{Attributes: attributes, VersionedObject: object(), VersionedKind: kind}
	request := plugincel.CreateAdmissionRequest(attributes, metav1.GroupVersionResource(resource), metav1.GroupVersionKind(kind))
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "d", Labels: map[string]string{"l": "m"}}}
	inputs := plugincel.OptionalVariableBindings{Authorizer: allowing{}}
	context := compiler.CompositionEnv.CreateContext(context.Background())
	results, left, err := evaluator.ForInput(context, versioned, request, inputs, plugincel.CreateNamespaceObject(namespace), budget)
	if err != nil {
		seen["fatal"] = err.Error()
		return seen
	}
	seen["cost"] = budget - left
	if results[0].Error != nil {
		seen["error"] = results[0].Error.Error()
	} else {
		seen["value"] = fmt.Sprint(results[0].EvalResult.Value())
	}
	return seen
}

func main() {
	base := environment.MustBaseEnvSet(version.MajorMinor(1, 34), true)
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(make([]byte, 1<<20), 1<<20)
	for lines.Scan() {
		var input struct{ Expr string }
		if err := json.Unmarshal(lines.Bytes(), &input); err != nil {
			panic(err)
		}
		line, _ := json.Marshal(observe(base, input.Expr))
		fmt.Println(string(line))
	}
}
