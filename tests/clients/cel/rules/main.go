// What upstream's API server 1.34 says about definitions of custom resources with rules, and about objects of them.
//
// Reads lines {"schema":…, "new":…, "old":…}, such as crates/k8s-schema/tests/rules.jsonl, and writes the errors of the definition and, if
// it has none, of the object. Run by hand to add to that file: the tests compare with what stands there.
//
//	go run ./rules < ../../../crates/k8s-schema/tests/rules.jsonl
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	apiservervalidation "k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/common"
)

func main() {
	sc := bufio.NewScanner(os.Stdin)
	sc.Buffer(make([]byte, 1<<22), 1<<22)
	for sc.Scan() {
		var in struct {
			Schema json.RawMessage `json:"schema"`
			New    json.RawMessage `json:"new"`
			Old    json.RawMessage `json:"old"`
		}
		if err := json.Unmarshal(sc.Bytes(), &in); err != nil {
			panic(err)
		}
		var v1schema apiextensionsv1.JSONSchemaProps
		if err := json.Unmarshal(in.Schema, &v1schema); err != nil {
			panic(err)
		}
		out := map[string]any{}
		crdv1 := &apiextensionsv1.CustomResourceDefinition{
			ObjectMeta: metav1.ObjectMeta{Name: "widgets.example.com"},
			Spec: apiextensionsv1.CustomResourceDefinitionSpec{
				Group: "example.com", Scope: "Namespaced",
				Names:      apiextensionsv1.CustomResourceDefinitionNames{Plural: "widgets", Singular: "widget", Kind: "Widget", ListKind: "WidgetList"},
				Versions:   []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1", Served: true, Storage: true, Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &v1schema}}},
				Conversion: &apiextensionsv1.CustomResourceConversion{Strategy: "None"},
			},
		}
		crd := &apiextensions.CustomResourceDefinition{}
		if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(crdv1, crd, nil); err != nil {
			panic(err)
		}
		crd.Status.StoredVersions = []string{"v1"}
		errs := validation.ValidateCustomResourceDefinition(context.TODO(), crd)
		list := []string{}
		for _, e := range errs {
			list = append(list, e.Error())
		}
		out["definition"] = list
		if len(errs) == 0 && in.New != nil {
			internal := &apiextensions.JSONSchemaProps{}
			if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(&v1schema, internal, nil); err != nil {
				panic(err)
			}
			ss, err := structuralschema.NewStructural(internal)
			if err != nil {
				panic(err)
			}
			var newObj, oldObj any
			if err := utiljson.Unmarshal(in.New, &newObj); err != nil {
				panic(err)
			}
			if in.Old != nil {
				if err := utiljson.Unmarshal(in.Old, &oldObj); err != nil {
					panic(err)
				}
			}
			v, _, err := apiservervalidation.NewSchemaValidator(internal)
			if err != nil {
				panic(err)
			}
			var all field.ErrorList
			cv := cel.NewValidator(ss, true, celconfig.PerCallLimit)
			if oldObj != nil {
				co := common.NewCorrelatedObject(newObj, oldObj, &model.Structural{Structural: ss})
				all = append(all, apiservervalidation.ValidateCustomResourceUpdate(nil, newObj, oldObj, v, apiservervalidation.WithRatcheting(co))...)
				e, _ := cv.Validate(context.TODO(), nil, ss, newObj, oldObj, celconfig.RuntimeCELCostBudget, cel.WithRatcheting(co))
				all = append(all, e...)
			} else {
				all = append(all, apiservervalidation.ValidateCustomResource(nil, newObj, v)...)
				e, _ := cv.Validate(context.TODO(), nil, ss, newObj, nil, celconfig.RuntimeCELCostBudget)
				all = append(all, e...)
			}
			list := []string{}
			for _, e := range all {
				list = append(list, e.Error())
			}
			out["object"] = list
		}
		b, _ := json.Marshal(out)
		fmt.Println(string(b))
	}
}
