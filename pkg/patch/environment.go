package patch

import (
	"encoding/base64"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"github.com/google/cel-go/ext"
	apitypes "k8s.io/apimachinery/pkg/types"

	"github.com/sublet-dev/sublet/pkg/translate"
)

// costLimit bounds one evaluation. An expression over an object of the size limit of the API
// stays below it unless it compares all items with each other.
const costLimit = 100_000

// namespaceVariable is the namespace of the virtual object.
const namespaceVariable = "__namespace__"

// base has what expressions for all fields have. It takes milliseconds to build.
var base = sync.OnceValues(func() (*cel.Env, error) { //nolint:gochecknoglobals // it is not changed
	return cel.NewEnv(
		cel.Variable("object", cel.DynType),
		cel.Variable("other", cel.DynType),
		cel.Variable("cluster", cel.MapType(cel.StringType, cel.StringType)),
		// The word is reserved in CEL. Kubernetes escapes it in this way too.
		cel.Variable(namespaceVariable, cel.StringType),
		cel.Variable("name", cel.StringType),
		hostName(), virtualName(),
		ext.Strings(ext.StringsVersion(2)),
		cel.CrossTypeNumericComparisons(true), cel.DefaultUTCTimeZone(true), cel.ParserRecursionLimit(200),
	)
})

// newEnvironment returns the variables and functions of expressions for a field.
func newEnvironment(field form) (*cel.Env, error) {
	env, err := base()
	if err == nil {
		env, err = env.Extend(cel.Variable("value", valueType(field)))
	}
	if err != nil {
		return nil, fmt.Errorf("cannot build the variables of expressions: %w", err)
	}
	return env, nil
}

// valueType returns the static type of the variable value. It may be null.
func valueType(field form) *cel.Type {
	switch field {
	case text:
		return cel.NullableType(cel.StringType)
	case whole:
		return cel.NullableType(cel.IntType)
	case number:
		return cel.NullableType(cel.DoubleType)
	case truth:
		return cel.NullableType(cel.BoolType)
	}
	return cel.DynType
}

// hostName returns the function that computes the name of a copy on the host:
// cluster.hostName(__namespace__, name).
func hostName() cel.EnvOption {
	cluster := cel.MapType(cel.StringType, cel.StringType)
	return cel.Function("hostName", cel.MemberOverload("cluster_host_name", []*cel.Type{cluster, cel.StringType, cel.StringType}, cel.StringType,
		cel.FunctionBinding(func(args ...ref.Val) ref.Val {
			c, err := clusterOf(args[0])
			if err != nil {
				return types.WrapErr(err)
			}
			return types.String(hostNameOf(c, args[1], args[2]))
		})))
}

// virtualName returns the function that finds the virtual name behind one of the host:
// cluster.virtualName(hostName, __namespace__, names). It returns the host name if no copy of
// these names has it.
func virtualName() cel.EnvOption {
	cluster := cel.MapType(cel.StringType, cel.StringType)
	args := []*cel.Type{cluster, cel.StringType, cel.StringType, cel.ListType(cel.StringType)}
	return cel.Function("virtualName", cel.MemberOverload("cluster_virtual_name", args, cel.StringType,
		cel.FunctionBinding(func(args ...ref.Val) ref.Val {
			c, err := clusterOf(args[0])
			if err != nil {
				return types.WrapErr(err)
			}
			names, ok := args[3].(traits.Lister)
			if !ok {
				return types.MaybeNoSuchOverloadErr(args[3])
			}
			for it := names.Iterator(); it.HasNext() == types.True; {
				name := it.Next()
				if args[1].Equal(types.String(hostNameOf(c, args[2], name))) == types.True {
					return name
				}
			}
			return args[1]
		})))
}

func hostNameOf(c translate.Cluster, namespace, name ref.Val) string {
	return translate.Hashed(c, apitypes.NamespacedName{Namespace: fmt.Sprint(namespace.Value()), Name: fmt.Sprint(name.Value())}).Name
}

// clusterOf returns the cluster that is the value of the variable cluster.
func clusterOf(value ref.Val) (translate.Cluster, error) {
	native, err := value.ConvertToNative(reflect.TypeFor[map[string]string]())
	if err != nil {
		return translate.Cluster{}, fmt.Errorf("cannot read the cluster: %w", err)
	}
	fields, _ := native.(map[string]string)
	return translate.Cluster{UID: fields["uid"], Namespace: fields["namespace"]}, nil
}

// programOptions returns the limits of an evaluation.
func programOptions() []cel.ProgramOption {
	return []cel.ProgramOption{cel.EvalOptions(cel.OptOptimize), cel.CostTracking(textCosts{}), cel.CostLimit(costLimit)}
}

// textCosts makes functions cost what they read and write of texts and lists.
type textCosts struct{}

// CallCost returns the cost of a call, nil for the default.
func (textCosts) CallCost(function, _ string, args []ref.Val, result ref.Val) *uint64 {
	if !slices.Contains([]string{"replace", "join", "split", "lowerAscii", "upperAscii", "trim", "quote", "format", "substring", "hostName", "virtualName"}, function) {
		return nil
	}
	cost := uint64(1)
	for _, value := range append(slices.Clone(args), result) {
		if sized, ok := value.(traits.Sizer); ok {
			if size, ok := sized.Size().(types.Int); ok && size > 0 {
				cost += uint64(size)
			}
		}
	}
	return &cost
}

// toJSON returns a result as a JSON tree with whole numbers as int64.
func toJSON(value ref.Val) (any, error) {
	switch value := value.(type) {
	case types.Null:
		return nil, nil //nolint:nilnil // null removes the field.
	case types.Bool:
		return bool(value), nil
	case types.Int:
		return int64(value), nil
	case types.Uint:
		return int64(value), nil //nolint:gosec // Fields have no larger numbers.
	case types.Double:
		return float64(value), nil
	case types.String:
		return string(value), nil
	case types.Bytes:
		return base64.StdEncoding.EncodeToString(value), nil
	case types.Timestamp:
		return value.UTC().Format(time.RFC3339), nil
	case types.Duration:
		return value.Duration.String(), nil
	case traits.Mapper:
		return mapToJSON(value)
	case traits.Lister:
		return listToJSON(value)
	}
	return nil, fmt.Errorf("it gives %s, which no field has", value.Type())
}

func listToJSON(value traits.Lister) (any, error) {
	items := []any{}
	for it := value.Iterator(); it.HasNext() == types.True; {
		item, err := toJSON(it.Next())
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, nil
}

func mapToJSON(value traits.Mapper) (any, error) {
	fields := map[string]any{}
	for it := value.Iterator(); it.HasNext() == types.True; {
		key := it.Next()
		name, ok := key.(types.String)
		if !ok {
			return nil, fmt.Errorf("it gives a map with the key %v, which is no text", key)
		}
		field, err := toJSON(value.Get(key))
		if err != nil {
			return nil, err
		}
		if field != nil {
			fields[string(name)] = field
		}
	}
	return fields, nil
}
