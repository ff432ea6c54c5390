export { RowBatch } from './batch.ts'
export type { Cell } from './cell.ts'
export { TableError, type TableErrorCode } from './error.ts'
export { applyOutputRules, type ReleasableOutput } from './output.ts'
export {
  checkDeclaredOutput,
  intersectOutputRules,
  type OutputRefusal,
  type OutputRefusalCode,
} from './output-rules.ts'
export {
  type DeclaredOutput,
  declaredOutputSchema,
  type FileOutputRules,
  type OutputColumn,
  type OutputRole,
  type OutputRules,
  outputColumnSchema,
  outputRulesSchema,
  type TableOutputRules,
} from './output-schema.ts'
export { paddedLength, padToStep, unpad } from './padding.ts'
export { parseTable, readTable } from './reader.ts'
export {
  type Column,
  type ColumnClass,
  type ColumnNames,
  type ColumnShape,
  type ColumnType,
  checkShapes,
  columnClassSchema,
  columnCountMax,
  columnNameBytesMax,
  columnNameSchema,
  columnNamesSchema,
  columnSchema,
  columnShapeSchema,
  columnTypeSchema,
  renameColumns,
  tableSchema,
} from './schema.ts'
export {
  type DropTreatment,
  type EdgesTreatment,
  type KeyedHashTreatment,
  type MapTreatment,
  type MaskTreatment,
  type PassTreatment,
  type RoundTreatment,
  type Treatment,
  treatedType,
  treatmentSchema,
  type YearTreatment,
} from './treatment-schema.ts'
export { applyTreatments, type TreatedTable, treatCell } from './treatments.ts'
export { encodeTable, rowBytesMax, TableWriter } from './writer.ts'
