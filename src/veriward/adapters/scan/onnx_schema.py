"""The messages of ONNX and their fields. Source: onnx/onnx.proto of onnx 1.23 (IR version 14), field by field."""

from .protobuf import shapes

MESSAGES = shapes("""
Model
  1 ir_version int
  2 producer_name text
  3 producer_version text
  4 domain text
  5 model_version int
  6 doc_string text
  7 graph Graph
  8 opset_import* OperatorSet
  14 metadata_props* Entry
  20 training_info* Training
  25 functions* Function
  26 configuration* Configuration
OperatorSet
  1 domain text
  2 version int
Entry
  1 key text
  2 value text
Graph
  1 node* Node
  2 name text
  5 initializer* Tensor
  10 doc_string text
  11 input* Value
  12 output* Value
  13 value_info* Value
  14 quantization_annotation* Annotation
  15 sparse_initializer* Sparse
  16 metadata_props* Entry
Node
  1 input* text
  2 output* text
  3 name text
  4 op_type text
  5 attribute* Attribute
  6 doc_string text
  7 domain text
  8 overload text
  9 metadata_props* Entry
  10 device_configurations* NodeDevices
Attribute
  1 name text
  2 f float
  3 i int
  4 s bytes
  5 t Tensor
  6 g Graph
  7 floats* float
  8 ints* int
  9 strings* bytes
  10 tensors* Tensor
  11 graphs* Graph
  13 doc_string text
  14 tp Type
  15 type_protos* Type
  20 type int
  21 ref_attr_name text
  22 sparse_tensor Sparse
  23 sparse_tensors* Sparse
Tensor
  1 dims* int
  2 data_type int
  3 segment Segment
  4 float_data* float
  5 int32_data* int
  6 string_data* bytes
  7 int64_data* int
  8 name text
  9 raw_data bytes
  10 double_data* double
  11 uint64_data* int
  12 doc_string text
  13 external_data* Entry
  14 data_location int
  16 metadata_props* Entry
Segment
  1 begin int
  2 end int
Sparse
  1 values Tensor
  2 indices Tensor
  3 dims* int
Function
  1 name text
  4 input* text
  5 output* text
  6 attribute* text
  7 node* Node
  8 doc_string text
  9 opset_import* OperatorSet
  10 domain text
  11 attribute_proto* Attribute
  12 value_info* Value
  13 overload text
  14 metadata_props* Entry
Training
  1 initialization Graph
  2 algorithm Graph
  3 initialization_binding* Entry
  4 update_binding* Entry
Value
  1 name text
  2 type Type
  3 doc_string text
  4 metadata_props* Entry
Annotation
  1 tensor_name text
  2 quant_parameter_tensor_names* Entry
Type
  1 tensor_type TensorType
  4 sequence_type Inner
  5 map_type Map
  6 denotation text
  7 opaque_type Opaque
  8 sparse_tensor_type TensorType
  9 optional_type Inner
TensorType
  1 elem_type int
  2 shape Sides
Inner
  1 elem_type Type
Map
  1 key_type int
  2 value_type Type
Opaque
  1 domain text
  2 name text
Sides
  1 dim* Side
Side
  1 dim_value int
  2 dim_param text
  3 denotation text
Configuration
  1 name text
  2 num_devices int
  3 device* text
NodeDevices
  1 configuration_id text
  2 sharding_spec* Sharding
  3 pipeline_stage int
Sharding
  1 tensor_name text
  2 device* int
  3 index_to_device_group_map* Group
  4 sharded_dim* ShardedSide
Group
  1 key int
  2 value* int
ShardedSide
  1 axis int
  2 simple_sharding* SimpleSide
SimpleSide
  1 dim_value int
  2 dim_param text
  3 num_shards int
""")
