export { type CanonicalTable, type ColumnChoice, readUserTable, toCanonical } from './canonical.ts'
export { TablesError, type TablesErrorCode } from './error.ts'
export { type Inspection, inspectFile } from './inspect.ts'
export {
  type ColumnReport,
  type Delimiter,
  type FileFormat,
  type InspectionReport,
  type InspectionWarning,
  missingMarkers,
  type Proposal,
  type Quote,
  type ReadOptions,
  type WarningCode,
} from './report.ts'
