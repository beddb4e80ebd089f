/*
 * 观察者（tests/model/history.py）：模型每走完一步，看任务看得见的样子变了没有；变了，就在词的树上走一条边。
 * 树上没有这条边，这条路到此为止（node = 0，谁也不许再动）。走到过的节点记下来，退出时写进 reached。
 * 这些都不在状态里：树是只读的，走到过就是走到过。
 * 退回到从前（BACK）是记着的，是一条边：备库停下的那一刻（keeps），样子得是退回之后的，否则不必试。
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BACK 1
static int node_count, *letters, *first_child, *next_sibling;
static char *been, *keeps, *back_next, *back_later; /* 走到过；备库也许停在这里；接着就是退回；后面有退回 */

static void write_reached(void) {
  FILE *file = fopen("reached", "w");
  for (int one = 1; one < node_count; one++) if (been[one]) fprintf(file, "%d\n", one);
  if (fclose(file)) abort();
}

/* words：第一行是节点数，此后每行是一个节点的（父节点，字母），自 2 号起；1 号是树根 */
static void read_words(void) {
  FILE *file = fopen("words", "r");
  if (!file || fscanf(file, "%d", &node_count) != 1) abort();
  node_count++;
  letters = calloc(node_count, sizeof(int)); first_child = calloc(node_count, sizeof(int));
  next_sibling = calloc(node_count, sizeof(int)); been = calloc(node_count, 1);
  keeps = calloc(node_count, 1); back_next = calloc(node_count, 1); back_later = calloc(node_count, 1);
  int *parents = calloc(node_count, sizeof(int));
  for (int one = 2, parent; one < node_count; one++) {
    if (fscanf(file, "%d %d", &parent, &letters[one]) != 2) abort();
    next_sibling[one] = first_child[parent]; first_child[parent] = one; parents[one] = parent;
  }
  int *shown = calloc(node_count, sizeof(int));
  for (int one = 2; one < node_count; one++) {
    shown[one] = letters[one] == BACK ? shown[parents[one]] : letters[one];
    if (letters[one] != BACK) continue;
    back_next[parents[one]] = 1;
    for (int place = parents[one]; place > 1; place = letters[place] == BACK ? 1 : parents[place]) {
      int same = ((shown[place] ^ shown[one]) & UNSENT) == 0; /* 样子没变也是一种 */
      for (int to = first_child[one]; to; to = next_sibling[to]) same |= ((shown[place] ^ letters[to]) & UNSENT) == 0;
      keeps[place] |= same;
    }
  }
  for (int one = node_count - 1; one > 1; one--)
    if (letters[one] == BACK || back_later[one]) back_later[parents[one]] = 1;
  free(shown);
  free(parents); fclose(file);
  atexit(write_reached);
}

static int follow(int node, int letter) {
  if (!node_count) read_words();
  node = first_child[node];
  while (node && letters[node] != letter) node = next_sibling[node];
  if (node) been[node] = 1;
  return node;
}

