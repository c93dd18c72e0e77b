/* catalog_gen: the printers of the generated files. */
#ifndef CATALOG_GEN_H
#define CATALOG_GEN_H

#include "catalog_model.h"

void catalog_header_print(const catalog_model *model, FILE *out); /* include/tape/records.h */
void catalog_manual_print(const catalog_model *model, FILE *out); /* docs/RECORDS.md */

#endif
